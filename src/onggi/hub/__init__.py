"""A registry server over an OCI image layout; read-only for now."""

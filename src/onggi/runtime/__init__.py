"""Containers at run time: the OCI runtime spec, the OCI runtime, and the process that watches a container."""

"""The layer store: layerdb, a storage driver and leases acting as one."""

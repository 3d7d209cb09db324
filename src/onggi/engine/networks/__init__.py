"""``engine.networks``: networks of containers, made by netavark."""

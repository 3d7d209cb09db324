"""Benchmarks against the peers that are installed: ``python -m bench``, as root on Linux."""

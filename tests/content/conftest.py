"""Servers in this process and clients for them."""

from tests.registry.fixtures import cancel, internet, registry, serve, site, world

__all__ = ["cancel", "internet", "registry", "serve", "site", "world"]

"""Servers in this process and clients for them."""

from tests.registry.fixtures import cancel, internet, registry, serve, site, world
from tests.registry.puller import digest, puller

__all__ = ["cancel", "digest", "internet", "puller", "registry", "serve", "site", "world"]

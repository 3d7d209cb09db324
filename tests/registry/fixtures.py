"""Servers that end with the test, and clients that know only what the test tells them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from onggi.cancel import CancelToken
from onggi.config import Config
from onggi.oci.reference import Reference
from onggi.registry.client import RegistryClient, Repository
from onggi.registry.credentials import Credentials, Keychain
from onggi.registry.patience import Patience
from onggi.registry.upload import Retries
from tests.registry.internet import Internet
from tests.registry.registry import FakeRegistry
from tests.registry.site import Handler, Site

__all__ = ["World", "cancel", "internet", "registry", "serve", "site", "world"]


@pytest.fixture
def serve() -> Iterator[Callable[..., Site]]:
    """``serve(answer, tls=…)`` starts a server."""
    with ExitStack() as stack:

        def start(answer: Handler, **options) -> Site:
            started = Site(answer, **options)
            stack.callback(started.stop)
            return started

        yield start


@pytest.fixture
def internet() -> Iterator[Internet]:
    """Names for servers, by way of a proxy."""
    opened = Internet()
    yield opened
    opened.stop()


@pytest.fixture
def registry() -> FakeRegistry:
    """An empty registry."""
    return FakeRegistry()


@pytest.fixture
def site(serve, registry) -> Site:
    """``registry`` behind plain http on loopback, where that is allowed."""
    return serve(registry)


@dataclass
class World:
    """The host's settings and credentials, in a directory of the test's own."""

    directory: Path
    config: Config
    clients: list[RegistryClient] = field(default_factory=list)
    patience: Patience = field(default_factory=lambda: Patience(first_pause_s=0.01))
    retries: Retries = field(default_factory=lambda: Retries(backoff_s=0.01))

    def set(self, **settings: object) -> None:
        """Change settings for the clients made from now on."""
        self.config = replace(self.config, **settings)

    @property
    def certs(self) -> Path:
        """certs.d"""
        return self.config.certs_dirs[0]

    def keep(self, server: str, user: str = "", password: str = "", **tokens: str) -> None:
        """Store credentials, as ``login`` would."""
        Keychain(self.config.docker_config_dir).store(server, Credentials(user, password, **tokens))

    def client(self) -> RegistryClient:
        keychain = Keychain(self.config.docker_config_dir)
        client = RegistryClient(self.config, keychain, patience=self.patience, retries=self.retries)
        self.clients.append(client)
        return client

    def repository(self, host: str, name: str = "some/image") -> Repository:
        return self.client().repository(Reference.parse(f"{host}/{name}"))


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    """Nobody's settings: no proxy, no credentials, a short patience with silence."""
    config = Config(
        data_root=tmp_path / "data",
        docker_config_dir=tmp_path / "docker",
        certs_dirs=(tmp_path / "certs.d",),
        stall_timeout_s=5.0,
    )
    made = World(tmp_path, config)
    yield made
    for client in made.clients:
        client.close()


@pytest.fixture
def cancel() -> CancelToken:
    """A token that nobody uses, but for the end of a test that hangs."""
    return CancelToken(timeout_s=60)

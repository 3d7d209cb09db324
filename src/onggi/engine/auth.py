"""``engine.auth``: log in to registries, out of them, and who we are."""

from __future__ import annotations

from collections.abc import Callable

from onggi.config import Config
from onggi.registry.client import LoginResult, RegistryClient
from onggi.registry.credentials import HUB_SERVER, Credentials, DockerConfig, domain_of, server_of

__all__ = ["Auth"]


class Auth:
    """Credentials in Docker's ``config.json`` or its helpers."""

    def __init__(self, config: Config, client: Callable[[], RegistryClient]) -> None:
        self._config = config
        self._client = client

    def login(self, server: str | None, username: str, password: str) -> LoginResult:
        """Prove the credentials at the registry (default: Docker Hub), then keep them."""
        return self._client().login(server or HUB_SERVER, username, password)

    def logout(self, server: str | None = None) -> bool:
        """Forget the credentials; False when there were none."""
        name = server or HUB_SERVER
        config = DockerConfig(self._config.docker_config_dir)
        erased = [config.erase(key) for key in dict.fromkeys((name, server_of(domain_of(name))))]
        return any(erased)

    def stored(self, server: str | None = None) -> Credentials:
        """What a registry would be shown; false when there is nothing. Raises CredentialError."""
        config = DockerConfig(self._config.docker_config_dir, self._config.docker_auth_config)
        return config.get(server_of(domain_of(server or HUB_SERVER)))

    def username(self, server: str | None = None) -> str | None:
        """The user a registry knows us as, by the stored credentials."""
        return self.stored(server).username or None

"""The registry client: repositories, and logins."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from onggi.cancel import CancelToken
from onggi.config import Config
from onggi.errors import OnggiError
from onggi.oci.reference import Reference
from onggi.record import record
from onggi.registry.credentials import Credentials, Keychain, domain_of, server_of
from onggi.registry.endpoints import Endpoint, endpoints
from onggi.registry.errors import NetworkError, TlsError
from onggi.registry.patience import Patience
from onggi.registry.repository import Repository, Resolved
from onggi.registry.session import Session
from onggi.registry.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.registry.destination import Destination
    from onggi.registry.upload import Retries

__all__ = ["LoginResult", "RegistryClient", "Repository", "Resolved"]


@record
class LoginResult:
    """``warning`` is for the user when a password lies unencrypted in ``stored_in``."""

    status: str
    warning: str
    stored_in: str = ""


class RegistryClient:
    """Talks to registries; thread-safe. Keeps connections, what pings told, and tokens."""

    def __init__(
        self,
        config: Config,
        keychain: Keychain,
        *,
        patience: Patience | None = None,
        retries: Retries | None = None,
    ) -> None:
        self._config = config
        self._keychain = keychain
        self._patience = patience or Patience()
        self._retries = retries
        self._transport = Transport(config)
        self._lock = threading.Lock()
        self._sessions: dict[tuple[Endpoint, str], Session] = {}

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def fetch(self, url: str, cancel: CancelToken) -> Iterator[bytes]:
        """A file from the web in pieces. Raises InvalidAddress, HttpRefusal, NetworkError, TlsError."""
        from onggi.registry.web import fetch

        return fetch(self._transport, url, cancel)

    def repository(self, reference: Reference) -> Repository:
        """The repository of a reference; nothing is sent yet."""
        return Repository(reference, lambda: self._sessions_of(reference.domain), self._patience)

    def destination(self, reference: Reference) -> Destination:
        """The same for writing: the registry itself, never a mirror (docker-engine §2.2)."""
        from onggi.registry.destination import Destination
        from onggi.registry.upload import Retries

        return Destination(
            reference,
            lambda: self._sessions_of(reference.domain, mirrors=False),
            self._patience,
            self._retries or Retries(self._config.max_download_attempts),
        )

    def credentials(self, domain: str) -> Credentials:
        """What a registry would be shown. Raises CredentialError."""
        return self._keychain.resolve(domain)

    def _sessions_of(self, domain: str, *, mirrors: bool = True) -> list[Session]:
        """One session per endpoint of a registry, in the order to be asked."""
        found = endpoints(self._config, domain, mirrors=mirrors)
        return [self._session(endpoint, domain) for endpoint in found]

    def _session(self, endpoint: Endpoint, domain: str) -> Session:
        """A mirror is another host: it gets its own credentials, never those of the registry it mirrors."""
        owner = endpoint.host if endpoint.mirror else domain
        with self._lock:
            session = self._sessions.get((endpoint, owner))
            if session is None:
                session = Session(self._transport, endpoint, lambda: self._keychain.resolve(owner))
                self._sessions[endpoint, owner] = session
            return session

    def login(
        self, server: str, username: str, password: str, *, cancel: CancelToken | None = None
    ) -> LoginResult:
        """Prove the credentials with ``GET /v2/``, then store them.

        ``server`` is ``host[:port]``, with or without scheme and path; ``docker.io`` or its
        credential key is Docker Hub. A registry that gives an identity token gets that stored
        instead of the password. Raises BadCredentials, NetworkError, TlsError, CredentialError.
        """
        domain = domain_of(server)
        token = cancel or CancelToken()
        identity = self._prove(domain, Credentials(username, password), token)
        kept = Credentials(username, "" if identity else password, identity)
        warning = self._keychain.store(server_of(domain), kept)
        with self._lock:
            self._sessions.clear()
        return LoginResult("Login Succeeded", warning, str(self._keychain.path))

    def _prove(self, domain: str, credentials: Credentials, cancel: CancelToken) -> str:
        """The identity token, or nothing, of the first endpoint that answers."""
        last: OnggiError | None = None
        for endpoint in endpoints(self._config, domain, mirrors=False):
            try:
                return Session(self._transport, endpoint, lambda: credentials).check_login(cancel)
            except (NetworkError, TlsError) as error:
                cancel.check()
                last = error
        assert last is not None
        raise last

"""Credentials where Docker keeps them: ``config.json`` and its helpers (docker-engine §2.3).

::

    {
            "auths": {
                    "registry.example:5000": {"auth": base64("user:password")},
                    "https://index.docker.io/v1/": {"auth": base64("user:"), "identitytoken": "…"}
            },
            "credHelpers": {"<server>": "<helper>"},
            "credsStore": "<helper of all others>"
    }

The file is written as the docker command line writes it (tabs, ``auths`` sorted, Go's
escapes, no final newline), but keys that Docker would drop are kept.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from onggi.errors import InvalidArgument
from onggi.record import field, record
from onggi.registry.endpoints import HUB_DOMAIN, HUB_SERVER
from onggi.registry.helpers import CredentialError, Helper

__all__ = [
    "ANONYMOUS",
    "HUB_SERVER",
    "CredentialError",
    "Credentials",
    "DockerConfig",
    "Keychain",
    "domain_of",
    "server_of",
]

_VARIABLE = "DOCKER_AUTH_CONFIG"
# A helper's way to say "this is an identity token".
_TOKEN_USER = "<token>"  # noqa: S105
_HUB_NAMES = (HUB_DOMAIN, "index.docker.io", "registry-1.docker.io")


@record
class Credentials:
    """What a registry may be shown; secrets stay out of ``repr``. False when there is nothing."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token)

    def basic(self) -> str:
        """The value of a Basic ``Authorization`` header."""
        return "Basic " + self.encoded()

    def encoded(self) -> str:
        """base64 of ``user:password``."""
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")


ANONYMOUS = Credentials()


def domain_of(server: str) -> str:
    """The registry that a user's ``login <server>`` means: scheme and path do not count."""
    host = _host_of(server)
    if not host:
        raise InvalidArgument(f"invalid registry name {server!r}", hint="it looks like host[:port]")
    return HUB_DOMAIN if host in _HUB_NAMES else host


def server_of(domain: str) -> str:
    """The credential key of a registry."""
    return HUB_SERVER if domain in _HUB_NAMES else domain


class DockerConfig:
    """``config.json`` in one directory; the servers of ``environment`` win over it when it is read.

    ``environment`` is the value of DOCKER_AUTH_CONFIG: such a file's text, of which ``auths`` counts.
    """

    def __init__(self, directory: Path, environment: str = "") -> None:
        self.path = directory / "config.json"
        self._environment = environment

    # --- reading --------------------------------------------------------------------------

    def get(self, server: str) -> Credentials:
        """What is stored for a server; false when nothing is. Raises CredentialError."""
        given = _find(_mapping(self._given(), "auths"), server)
        if given is not None:
            return _decode(given, _VARIABLE, f"correct {_VARIABLE}, or unset it")
        document = self._read()
        helper = _helper_of(document, server)
        if helper is not None:
            return _from_helper(helper, server)
        entry = _find(_mapping(document, "auths"), server)
        return ANONYMOUS if entry is None else _decode(entry, str(self.path), "log in again: onggi login")

    def _given(self) -> dict[str, Any]:
        """What the environment says, as a document."""
        hint = f"correct {_VARIABLE}, or unset it"
        return _parsed(self._environment.encode(), _VARIABLE, hint) if self._environment else {}

    def _read(self) -> dict[str, Any]:
        hint = "correct it, or move it away"
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise CredentialError(f"read {self.path}: {(error.strerror or '').lower()}", hint=hint) from error
        return _parsed(raw, str(self.path), hint)

    # --- writing --------------------------------------------------------------------------

    def store(self, server: str, credentials: Credentials) -> str:
        """Keep credentials; returns the warning to show, empty when no password lies open.

        The warning is the docker command line's, which puts an empty line before and after it.
        """
        with self._changing() as document:
            auths = _mapping(document, "auths")
            helper = _helper_of(document, server)
            before = auths.get(server)
            if helper is not None:
                user = _TOKEN_USER if credentials.identity_token else credentials.username
                helper.store(server, user, credentials.identity_token or credentials.password)
                auths[server] = {}
            else:
                auths[server] = _entry(credentials)
            document["auths"] = auths
            open_password = helper is None and bool(credentials.password) and auths[server] != before
        return _UNENCRYPTED.format(self.path) if open_password else ""

    def erase(self, server: str) -> bool:
        """Forget a server, however its key is written; False when nothing was stored."""
        if not self.path.exists():
            return False
        with self._changing() as document:
            auths = _mapping(document, "auths")
            known = [key for key in auths if key == server or _is_same(key, server)]
            for key in known:
                del auths[key]
            helper = _helper_of(document, server)
            erased = helper is not None and helper.erase(server)
        return bool(known) or erased

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """Read, let the caller change, write back what changed; one process at a time."""
        directory = self.path.parent
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            document = self._read()
            before = _as_docker_writes(document)
            yield document
            after = _as_docker_writes(document)
            if after != before:
                self._write(after)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            os.close(lock)

    def _write(self, text: str) -> None:
        """By temporary file and rename, through a symbolic link, mode 0600, keeping the owner."""
        target = os.path.realpath(self.path)
        temporary = f"{target}.{os.urandom(5).hex()}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600)
                _keep_owner(target, file.fileno())
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise

    def _unwritable(self, error: OSError) -> CredentialError:
        return CredentialError(
            f"write {self.path}: {(error.strerror or str(error)).lower()}",
            hint="DOCKER_CONFIG names another directory",
        )


def _parsed(raw: bytes, where: str, hint: str) -> dict[str, Any]:
    try:
        document = json.loads(raw or b"{}")
    except ValueError as error:
        # Not the parser's text with its excerpt: it may show a secret.
        place = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "not UTF-8"
        raise CredentialError(f"read {where}: invalid JSON, {place}", hint=hint) from None
    if not isinstance(document, dict):
        raise CredentialError(f"read {where}: not a JSON object", hint=hint)
    return document


def _decode(entry: dict[str, Any], where: str, hint: str) -> Credentials:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            pair = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            pair = ""
        username, colon, password = pair.partition(":")
        if not colon or not username:
            raise CredentialError(f"read {where}: Invalid auth configuration file", hint=hint)
    return Credentials(
        username,
        password.strip("\0"),
        str(entry.get("identitytoken") or ""),
        str(entry.get("registrytoken") or ""),
    )


_UNENCRYPTED = (
    "WARNING! Your credentials are stored unencrypted in '{}'.\n"
    "Configure a credential helper to remove this warning. See\n"
    "https://docs.docker.com/go/credential-store/\n"
)


def _entry(credentials: Credentials) -> dict[str, str]:
    """With an identity token the password is not kept, only the user's name."""
    if not credentials.identity_token:
        return {"auth": credentials.encoded()}
    return {
        "auth": Credentials(credentials.username).encoded(),
        "identitytoken": credentials.identity_token,
    }


def _as_docker_writes(document: dict[str, Any]) -> str:
    """Go's encoding/json with tabs, the servers sorted."""
    if isinstance(document.get("auths"), dict):
        document = document | {"auths": dict(sorted(document["auths"].items()))}
    text = json.dumps(document, indent="\t", ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _keep_owner(target: str, fd: int) -> None:
    try:
        status = os.stat(target)
        os.fchown(fd, status.st_uid, status.st_gid)
    except OSError:
        pass


def _mapping(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _helper_of(document: dict[str, Any], server: str) -> Helper | None:
    name = _mapping(document, "credHelpers").get(server) or document.get("credsStore")
    return Helper(str(name)) if name else None


def _from_helper(helper: Helper, server: str) -> Credentials:
    found = helper.get(server)
    if found is None:
        return ANONYMOUS
    username, secret = found
    return Credentials(identity_token=secret) if username == _TOKEN_USER else Credentials(username, secret)


def _find(auths: dict[str, Any], server: str) -> dict[str, Any] | None:
    """The exact key, else (never for Docker Hub) one that is the same host with scheme or path."""
    exact = auths.get(server)
    if isinstance(exact, dict):
        return exact
    return next(
        (entry for key, entry in auths.items() if _is_same(key, server) and isinstance(entry, dict)), None
    )


def _is_same(key: str, server: str) -> bool:
    return server != HUB_SERVER and _host_of(key) == _host_of(server)


def _host_of(server: str) -> str:
    try:
        return urlsplit(server if "://" in server else f"//{server}").netloc.rpartition("@")[2]
    except ValueError:
        return ""


class Keychain:
    """Credentials by registry domain."""

    def __init__(self, directory: Path, environment: str = "") -> None:
        self._config = DockerConfig(directory, environment)

    @property
    def path(self) -> Path:
        """The file."""
        return self._config.path

    def resolve(self, domain: str) -> Credentials:
        """What to show a registry. Raises CredentialError."""
        return self._config.get(server_of(domain))

    def store(self, server: str, credentials: Credentials) -> str:
        """Keep credentials; returns the warning to show."""
        return self._config.store(server, credentials)

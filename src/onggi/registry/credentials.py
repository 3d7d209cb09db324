"""Credentials where Docker keeps them: ``config.json`` and its helpers (docker-engine §2.3).

``auths`` maps a server to ``{"auth": base64("user:password")}``; ``credHelpers`` names a
helper per server, ``credsStore`` one for all. A helper is ``docker-credential-<name>``; it
gets its verb as argument and talks on stdin and stdout.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from onggi.errors import FailedPrecondition, InvalidArgument
from onggi.registry.endpoints import HUB_DOMAIN, HUB_SERVER

__all__ = [
    "ANONYMOUS",
    "HUB_SERVER",
    "CredentialError",
    "Credentials",
    "DockerConfig",
    "Keychain",
    "server_of",
]

# A helper's way to say "this is an identity token".
_TOKEN_USER = "<token>"  # noqa: S105
# Seconds a helper may think; some ask the user.
_HELPER_TIMEOUT_S = 120


class CredentialError(FailedPrecondition):
    """config.json or a helper does not do what it should; never shows a secret."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a registry may be shown; secrets stay out of ``repr``."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token)

    def basic(self) -> str:
        """The value of a Basic ``Authorization`` header."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


ANONYMOUS = Credentials()


def server_of(domain: str) -> str:
    """The credential key of a registry."""
    return HUB_SERVER if domain in (HUB_DOMAIN, "index.docker.io", "registry-1.docker.io") else domain


class DockerConfig:
    """``config.json`` in one directory; unknown keys are kept."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "config.json"

    def get(self, server: str) -> Credentials:
        """What is stored for a server (ANONYMOUS when nothing is). Raises CredentialError."""
        document = self._read()
        helper = self._helper(document, server)
        if helper:
            return _from_helper(helper, server)
        auths = document.get("auths")
        entry = _find(auths, server) if isinstance(auths, dict) else None
        return ANONYMOUS if entry is None else self._decode(entry)

    def _decode(self, entry: dict[str, Any]) -> Credentials:
        username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
        if entry.get("auth"):
            try:
                pair = base64.b64decode(str(entry["auth"]), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                pair = ""
            username, colon, password = pair.partition(":")
            if not colon or not username:
                raise CredentialError(
                    f"read {self.path}: Invalid auth configuration file", hint="log in again: onggi login"
                )
        return Credentials(
            username,
            password.strip("\0"),
            str(entry.get("identitytoken") or ""),
            str(entry.get("registrytoken") or ""),
        )

    def store(self, server: str, credentials: Credentials) -> str:
        """Keep credentials; returns the warning to show, empty when a helper keeps them."""
        document = self._read()
        auths = document.setdefault("auths", {})
        helper = self._helper(document, server)
        if helper:
            secret = credentials.identity_token or credentials.password
            user = _TOKEN_USER if credentials.identity_token else credentials.username
            _call(helper, "store", json.dumps({"ServerURL": server, "Username": user, "Secret": secret}))
            auths[server] = {}
            self._write(document)
            return ""
        pair = f"{credentials.username}:{credentials.password if not credentials.identity_token else ''}"
        auths[server] = {"auth": base64.b64encode(pair.encode()).decode("ascii")}
        if credentials.identity_token:
            auths[server]["identitytoken"] = credentials.identity_token
        self._write(document)
        return (
            f"WARNING! Your credentials are stored unencrypted in '{self.path}'.\n"
            "Configure a credential helper to remove this warning. See\n"
            "https://docs.docker.com/go/credential-store/\n"
        )

    def erase(self, server: str) -> bool:
        """Forget a server; False when nothing was stored."""
        document = self._read()
        auths = document.get("auths")
        known = [key for key in auths or {} if key == server or _host_of(key) == _host_of(server)]
        helper = self._helper(document, server)
        if helper and known:
            _call(helper, "erase", server)
        for key in known:
            del document["auths"][key]
        if known:
            self._write(document)
        return bool(known)

    def _helper(self, document: dict[str, Any], server: str) -> str:
        own = document.get("credHelpers")
        if isinstance(own, dict):
            for key in (server, _host_of(server)):
                if own.get(key):
                    return str(own[key])
        return str(document.get("credsStore") or "")

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self.path.read_bytes() or b"{}")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise CredentialError(f"read {self.path}: {error}", hint="correct it, or move it away") from error
        if not isinstance(document, dict):
            raise CredentialError(f"read {self.path}: not a JSON object", hint="correct it, or move it away")
        return document

    def _write(self, document: dict[str, Any]) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = Path(os.path.realpath(self.path))
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(json.dumps(document, indent="\t"))
        os.replace(temporary, target)


def _find(auths: dict[str, Any], server: str) -> dict[str, Any] | None:
    """The exact key, else (never for Docker Hub) one that is the same host with scheme or path."""
    if isinstance(auths.get(server), dict):
        found: dict[str, Any] = auths[server]
        return found
    if server == HUB_SERVER:
        return None
    for key, entry in auths.items():
        if _host_of(key) == _host_of(server) and isinstance(entry, dict):
            return entry
    return None


def _host_of(server: str) -> str:
    return urlsplit(server if "://" in server else f"//{server}").netloc


def _from_helper(helper: str, server: str) -> Credentials:
    answer = _call(helper, "get", server)
    if answer is None:
        return ANONYMOUS
    try:
        document = json.loads(answer)
        user, secret = str(document["Username"]), str(document["Secret"])
    except (ValueError, KeyError, TypeError):
        raise CredentialError(f"docker-credential-{helper} get: unreadable answer") from None
    if user == _TOKEN_USER:
        return Credentials(identity_token=secret)
    return Credentials(user, secret)


# What helpers say, on stdout and with a failing exit code, when they know no credentials.
_NONE_TEXTS = (
    "credentials not found in native keychain",
    "no credentials server URL",
    "no credentials username",
)


def _call(helper: str, verb: str, text: str) -> str | None:
    """Run a helper; None means that it knows nothing. Raises CredentialError."""
    program = f"docker-credential-{helper}"
    if "/" in helper or shutil.which(program) is None:
        raise CredentialError(
            f"{program}: executable file not found in $PATH",
            hint="install it, or remove credsStore/credHelpers from config.json",
        )
    try:
        done = subprocess.run(
            [program, verb],
            input=text,
            capture_output=True,
            text=True,
            timeout=_HELPER_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CredentialError(f"{program} {verb}: {error}") from error
    if done.returncode == 0:
        return done.stdout
    message = done.stdout.strip()
    if any(known in message for known in _NONE_TEXTS):
        return None
    raise CredentialError(f"{program} {verb}: {message or f'exit status {done.returncode}'}")


class Keychain:
    """Credentials by registry domain."""

    def __init__(self, directory: Path) -> None:
        self._config = DockerConfig(directory)

    def resolve(self, domain: str) -> Credentials:
        """What to show a registry. Raises InvalidArgument for an unusable domain."""
        if not domain:
            raise InvalidArgument("resolve credentials: empty registry name")
        return self._config.get(server_of(domain))

    def store(self, server: str, credentials: Credentials) -> str:
        """Keep credentials; returns the warning to show."""
        return self._config.store(server, credentials)

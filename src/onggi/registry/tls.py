"""TLS settings per host, from ``certs.d`` (docker-engine §2.2)::

    <certs.d>/<host[:port]>/
        *.crt             further authorities, beside the system's
        X.cert + X.key    a client certificate and its key

Docker hands a registry's settings to whatever host the registry leads to (token server,
blob store). We hand over its authorities, since those hosts are usually of one house, but
show its client certificate to nobody else.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
from pathlib import Path
from urllib.parse import urlsplit

from onggi.config import Config
from onggi.registry.endpoints import Endpoint, is_insecure
from onggi.registry.errors import TlsFiles

__all__ = ["TlsContexts"]

# A redirect's host comes from the other side and becomes a directory's name.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")


class TlsContexts:
    """Makes contexts; those without files of their own are shared (loading the system's takes 20 ms)."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._verifying: ssl.SSLContext | None = None

    def context(self, host: str, endpoint: Endpoint) -> ssl.SSLContext:
        """For ``host[:port]`` when a request to ``endpoint`` leads there. Raises TlsFiles."""
        if not self._verifies(host, endpoint):
            return _trusting_all()
        own = self._directories(host)
        borrowed = [] if host == endpoint.host else self._directories(endpoint.host)
        if not own and not borrowed:
            return self._shared()
        context = _trusting_system()
        for directory in borrowed:
            _load_authorities(context, directory)
        for directory in own:
            _load_authorities(context, directory)
            _load_pairs(context, directory)
        return context

    def _verifies(self, host: str, endpoint: Endpoint) -> bool:
        if host == endpoint.host:
            return endpoint.verify
        same_name = urlsplit(f"//{host}").hostname == urlsplit(endpoint.url).hostname
        return endpoint.verify if same_name else not is_insecure(self._config, host)

    def _shared(self) -> ssl.SSLContext:
        with self._lock:
            if self._verifying is None:
                self._verifying = _trusting_system()
            return self._verifying

    def _directories(self, host: str) -> list[Path]:
        if not _HOST.fullmatch(host):
            return []
        return [directory / host for directory in self._config.certs_dirs if (directory / host).is_dir()]


def _trusting_system() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Python 3.13 turned it on: it refuses authorities that Go, and so Docker, accepts.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _trusting_all() -> ssl.SSLContext:
    """Without the system's authorities: to load them takes longer than the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError as error:
        raise TlsFiles(f"open {directory}: {(error.strerror or str(error)).lower()}") from error


def _load_authorities(context: ssl.SSLContext, directory: Path) -> None:
    for name in _names(directory):
        if name.endswith(".crt"):
            try:
                context.load_verify_locations(cafile=directory / name)
            except (ssl.SSLError, OSError) as error:
                raise _unreadable(directory / name, error) from error


def _load_pairs(context: ssl.SSLContext, directory: Path) -> None:
    names = _names(directory)
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix == ".cert":
            if f"{stem}.key" not in names:
                raise TlsFiles(
                    f"missing key {stem}.key for client certificate {name}. "
                    "CA certificates must use the extension .crt",
                    hint=f"put the key into {directory}, or rename an authority to {stem}.crt",
                )
            try:
                context.load_cert_chain(directory / name, directory / f"{stem}.key")
            except (ssl.SSLError, OSError) as error:
                raise _unreadable(directory / name, error) from error
        elif suffix == ".key" and f"{stem}.cert" not in names:
            raise TlsFiles(
                f"missing client certificate {stem}.cert for key {name}", hint=f"put it into {directory}"
            )


def _unreadable(path: Path, error: OSError) -> TlsFiles:
    reason = error.strerror if not isinstance(error, ssl.SSLError) else (error.reason or str(error))
    return TlsFiles(f"read {path}: {reason}", hint="certificates and keys must be PEM, and belong together")

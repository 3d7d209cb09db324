"""The configuration: one frozen object, defaults < daemon.json < environment < flags.

The only place that reads ``os.environ``. ``daemon.json`` has Docker's keys; those that mean
nothing to this engine are accepted, unknown ones are an error.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from onggi.errors import InvalidArgument

__all__ = ["Config", "ConfigError"]

DEFAULT_CONFIG_FILE = "/etc/onggi/daemon.json"

# daemon.json key → field, for the keys whose value is taken as it is (after a type check).
_KEYS: dict[str, tuple[str, type]] = {
    "data-root": ("data_root", str),
    "exec-root": ("exec_root", str),
    "storage-driver": ("storage_driver", str),
    "storage-opts": ("storage_opts", list),
    "registry-mirrors": ("registry_mirrors", list),
    "registry-mirrors-for": ("registries", dict),
    "insecure-registries": ("insecure_registries", list),
    "max-concurrent-downloads": ("max_concurrent_downloads", int),
    "max-concurrent-uploads": ("max_concurrent_uploads", int),
    "max-download-attempts": ("max_download_attempts", int),
    "limit-rate": ("limit_rate_bytes_per_s", int),
    "stall-timeout": ("stall_timeout_s", int),
    "parallel-range-min-bytes": ("parallel_range_min_bytes", int),
    "labels": ("labels", list),
    "debug": ("debug", bool),
    "compat": ("compat", str),
    "http-proxy": ("http_proxy", str),
    "https-proxy": ("https_proxy", str),
    "no-proxy": ("no_proxy", str),
}
# dockerd's other keys (20.10 … 28): accepted, since a shared daemon.json is the point.
_DOCKER_ONLY = frozenset(
    """
    allow-direct-routing allow-nondistributable-artifacts api-cors-header authorization-plugins bip
    bridge bridge-accept-fwmark builder cdi-spec-dirs cgroup-parent cluster-advertise cluster-store
    cluster-store-opts config containerd containerd-namespace containerd-plugins-namespace cpu-rt-period
    cpu-rt-runtime cri-containerd data-root default-address-pools default-cgroupns-mode default-gateway
    default-gateway-v6 default-ipc-mode default-network-opts default-runtime default-shm-size default-
    ulimits deprecated-key-path dns dns-opts dns-search exec-opts exec-root experimental features fixed-
    cidr fixed-cidr-v6 graph group host-gateway-ip host-gateway-ips hosts icc init init-path ip ip-
    forward ip-forward-no-drop ip-masq ip6tables iptables ipv6 isolation live-restore log-driver log-
    format log-level log-opts max-download-attempts metrics-addr min-api-version mtu network-control-
    plane-mtu no-new-privileges node-generic-resources oom-score-adjust pidfile proxies raw-logs
    registry-mirrors rootless runtimes seccomp-profile selinux-enabled shutdown-timeout swarm-default-
    advertise-addr tls tlscacert tlscert tlskey tlsverify userland-proxy userland-proxy-path userns-
    remap validate firewall-backend
    """.split()  # noqa: SIM905
)
# environment variable → field
_ENVIRONMENT = {
    "ONGGI_DATA_ROOT": "data_root",
    "ONGGI_EXEC_ROOT": "exec_root",
    "ONGGI_STORAGE_DRIVER": "storage_driver",
    "ONGGI_COMPAT": "compat",
    "ONGGI_DEBUG": "debug",
    "DOCKER_CONFIG": "docker_config_dir",
    "DOCKER_DEFAULT_PLATFORM": "default_platform",
}
_COMPAT = ("28", "20.10")


class ConfigError(InvalidArgument):
    """A setting that does not exist, or a value it does not take; names where it stands."""


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of an engine. Sizes in bytes, times in seconds."""

    data_root: Path = Path("/var/lib/onggi")
    exec_root: Path = Path("/run/onggi")
    config_file: Path = Path(DEFAULT_CONFIG_FILE)
    storage_driver: str = ""
    storage_opts: tuple[str, ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    registries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    insecure_registries: tuple[str, ...] = ()
    max_concurrent_downloads: int = 3
    max_concurrent_uploads: int = 5
    max_download_attempts: int = 5
    limit_rate_bytes_per_s: int | None = None
    stall_timeout_s: float = 30.0
    parallel_range_min_bytes: int = 64 * 1024 * 1024
    certs_dirs: tuple[Path, ...] = (Path("/etc/onggi/certs.d"), Path("/etc/docker/certs.d"))
    docker_config_dir: Path = Path("/root/.docker")
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    labels: tuple[str, ...] = ()
    debug: bool = False
    compat: str = "28"
    default_platform: str | None = None

    @classmethod
    def load(
        cls, flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
    ) -> Config:
        """Read all sources. ``flags`` are field names of this class; None values count as absent.

        The file named by ``flags["config_file"]`` or ``ONGGI_CONFIG`` must exist; the default
        one may be missing. Raises ConfigError.
        """
        environ = os.environ if environ is None else environ
        flags = {name: value for name, value in (flags or {}).items() if value is not None}
        named = flags.get("config_file") or environ.get("ONGGI_CONFIG")
        path = Path(str(named or DEFAULT_CONFIG_FILE))
        settings: dict[str, Any] = _proxies_of(environ)
        settings["docker_config_dir"] = os.path.join(environ.get("HOME") or "/root", ".docker")
        settings |= _read_file(path, required=named is not None)
        settings |= {name: environ[key] for key, name in _ENVIRONMENT.items() if environ.get(key)}
        settings |= flags
        settings["config_file"] = path
        return cls(**_convert(settings))


def _proxies_of(environ: Mapping[str, str]) -> dict[str, Any]:
    """HTTP_PROXY and friends; upper case wins, as with Go."""
    found: dict[str, Any] = {}
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        value = environ.get(name.upper()) or environ.get(name)
        # In a CGI program HTTP_PROXY comes from the request (httpoxy, CVE-2016-5386).
        if value and not (name == "http_proxy" and "REQUEST_METHOD" in environ):
            found[name] = value
    return found


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        if required:
            raise ConfigError(
                f"read {path}: no such file or directory", hint="check --config-file and ONGGI_CONFIG"
            ) from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"read {path}: {error}") from error
    try:
        document = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise ConfigError(
            f"unable to configure Onggi with file {path}: {error}", hint="it must be JSON"
        ) from error
    if not isinstance(document, dict):
        raise ConfigError(f"unable to configure Onggi with file {path}: not a JSON object")
    return _from_document(document, path)


def _from_document(document: dict[str, Any], path: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    unknown = [key for key in document if key not in _KEYS and key not in _DOCKER_ONLY]
    if unknown:
        raise ConfigError(
            f"unable to configure Onggi with file {path}: the following directives don't match any "
            f"configuration option: {', '.join(sorted(unknown))}",
            hint=f"correct or remove them in {path}",
        )
    proxies = document.get("proxies")
    entries = {**document, **(proxies if isinstance(proxies, dict) else {})}
    for key, value in entries.items():
        if key in _KEYS and value is not None:
            name, kind = _KEYS[key]
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise ConfigError(
                    f"unable to configure Onggi with file {path}: {key} must be {_KIND_NAMES[kind]}"
                )
            settings[name] = value
    return settings


_KIND_NAMES = {
    str: "a string",
    list: "a list",
    dict: "an object",
    int: "a whole number",
    bool: "true or false",
}


def _convert(settings: Mapping[str, Any]) -> dict[str, Any]:
    known = {item.name for item in fields(Config)}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise ConfigError(f"unknown setting: {', '.join(unknown)}")
    return {name: _CONVERTERS.get(name, _same)(name, value) for name, value in settings.items()}


def _same(name: str, value: Any) -> Any:
    return value


def _path(name: str, value: Any) -> Path:
    if not str(value):
        raise ConfigError(f"{name.replace('_', '-')} must not be empty")
    return Path(os.path.abspath(value))


def _paths(name: str, value: Any) -> tuple[Path, ...]:
    return tuple(_path(name, item) for item in value)


def _strings(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{name.replace('_', '-')} must be a list of strings")
    return tuple(value)


def _positive(name: str, value: Any) -> int:
    number = int(value)
    if number <= 0:
        raise ConfigError(f"invalid {name.replace('_', ' ')}: {value}", hint="it must be greater than 0")
    return number


def _boolean(name: str, value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() not in ("", "0", "false", "no")
    return bool(value)


def _compat(name: str, value: Any) -> str:
    if value not in _COMPAT:
        raise ConfigError(f"invalid compat {value!r}", hint=f"one of {', '.join(_COMPAT)}")
    return str(value)


def _mirrors(name: str, value: Any) -> tuple[str, ...]:
    return tuple(mirror_url(item) for item in _strings(name, value))


def _mirror_map(name: str, value: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {host: tuple(mirror_url(item) for item in mirrors) for host, mirrors in value.items()}


def mirror_url(text: str) -> str:
    """Check a mirror as dockerd does; exactly one trailing slash. Raises ConfigError."""
    match = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(.*)", text)
    if match is None or not match[2]:
        raise ConfigError(f'invalid mirror: "{text}" is not a valid URI', hint="e.g. https://mirror.example")
    scheme, authority, path, rest = match.groups()
    if scheme not in ("http", "https"):
        raise ConfigError(
            f'invalid mirror: unsupported scheme "{scheme}" in "{text}"', hint="use http or https"
        )
    if rest:
        raise ConfigError(f'invalid mirror: query or fragment at end of the URI "{text}"')
    if "@" in authority:
        raise ConfigError("invalid mirror: username/password not allowed in URI", hint="use onggi login")
    return f"{scheme}://{authority}{path.rstrip('/')}/"


def _insecure(name: str, value: Any) -> tuple[str, ...]:
    return tuple(insecure_registry(item) for item in _strings(name, value))


def insecure_registry(text: str) -> str:
    """Check ``host[:port]`` or a CIDR; http:// and https:// in front are dropped. Raises ConfigError."""
    host = re.sub(r"^https?://", "", text)
    if "://" in host:
        raise ConfigError(f"insecure registry {text} should not contain '://'")
    if re.fullmatch(r"[0-9a-fA-F:.]+/[0-9]+", host):
        try:
            return str(ipaddress.ip_network(host, strict=False))
        except ValueError as error:
            raise ConfigError(f"insecure registry {text} is not valid: {error}") from error
    if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?", host) or host.startswith("-"):
        raise ConfigError(f'insecure registry {text} is not valid: invalid host "{host}"')
    return host


_CONVERTERS: dict[str, Callable[[str, Any], Any]] = {
    "data_root": _path,
    "exec_root": _path,
    "config_file": _path,
    "docker_config_dir": _path,
    "certs_dirs": _paths,
    "storage_opts": _strings,
    "labels": _strings,
    "registry_mirrors": _mirrors,
    "registries": _mirror_map,
    "insecure_registries": _insecure,
    "max_concurrent_downloads": _positive,
    "max_concurrent_uploads": _positive,
    "max_download_attempts": _positive,
    "limit_rate_bytes_per_s": _positive,
    "parallel_range_min_bytes": _positive,
    "debug": _boolean,
    "compat": _compat,
}

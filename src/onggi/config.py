"""The configuration: one frozen object, defaults < daemon.json < environment < flags.

The only place that reads ``os.environ``. ``daemon.json`` is an object with dockerd's keys, so
that one file serves both::

    { "data-root": "/srv/images", "registry-mirrors": ["https://mirror.example"],
      "proxies": { "https-proxy": "http://proxy:3128" }, "log-driver": "local" }

dockerd's keys that mean nothing to this engine are accepted, unknown ones are an error, as
are values of the wrong type. Every setting also has an environment variable, ``ONGGI_`` and
the name of the field in capitals; lists are separated by commas there.

Proxies alone follow dockerd's order: what ``daemon.json`` says wins over ``HTTPS_PROXY`` and
friends, which concern every program.
"""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

from onggi.errors import InvalidArgument
from onggi.record import field, record

TYPE_CHECKING = False  # typing is not needed at run time, and this module is on every start-up path
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

__all__ = ["DEFAULT_CONFIG_FILE", "Config", "ConfigError", "caller_environment"]

DEFAULT_CONFIG_FILE = "/etc/onggi/daemon.json"
_CERTS_DIRS = (Path("/etc/onggi/certs.d"), Path("/etc/docker/certs.d"))

# dockerd's other keys (20.10 … 29).
_DOCKER_KEYS = """
    allow-direct-routing allow-nondistributable-artifacts api-cors-header authorization-plugins bip6
    bridge-accept-fwmark builder cdi-spec-dirs cluster-advertise cluster-store cluster-store-opts
    containerd containerd-namespace containerd-plugin-namespace containerd-plugins-namespace cpu-rt-period
    cpu-rt-runtime cri-containerd default-gateway default-gateway-v6 default-network-opts
    deprecated-key-path dns dns-opts dns-search experimental features firewall-backend fixed-cidr
    fixed-cidr-v6 group host-gateway-ip host-gateway-ips hosts icc ip-forward ip-forward-no-drop ip-masq
    ip6tables iptables ipv6 live-restore log-format log-level metrics-addr min-api-version
    network-control-plane-mtu network-diagnostic-port node-generic-resources nri-opts oom-score-adjust
    pidfile raw-logs rootless selinux-enabled shutdown-timeout swarm-default-advertise-addr
    swarm-raft-election-tick swarm-raft-heartbeat-tick tls tlscacert tlscert tlskey tlsverify
    userland-proxy-path userns-remap
"""
_DOCKER_ONLY = frozenset(_DOCKER_KEYS.split())


class ConfigError(InvalidArgument):
    """A setting that does not exist, or a value it does not take; names where it stands."""


def caller_environment() -> Mapping[str, str]:
    """The environment of who calls, for values that a command takes over by name (``run -e NAME``)."""
    return os.environ


@record
class Config:
    """Every setting of an engine. Sizes in bytes, times in seconds; paths are absolute.

    Without root, ``data_root`` is ``$XDG_DATA_HOME/onggi`` (``~/.local/share/onggi``) and
    ``exec_root`` is ``$XDG_RUNTIME_DIR/onggi`` unless something else is said.

    ``storage_driver`` empty means: the one the data root has, else the best of this host.
    ``registry_mirrors`` are docker.io's, ``registries`` maps any registry's host to its own;
    each URL ends in one slash. ``insecure_registries`` are ``host[:port]`` or networks in
    CIDR notation; loopback is insecure without being listed. ``certs_dirs`` are searched in
    order for ``<host[:port]>/`` (without root, ``~/.config/docker/certs.d`` comes first).
    ``partial_max_age_s``: how long a received, unused blob waits for the next pull.
    ``docker_auth_config`` is the text of a ``config.json`` whose ``auths`` win over the file's.
    ``default_platform`` is text as of ``--platform``. ``log_opts`` belong to ``log_driver``, the one of
    containers that name none.

    The last ones are what containers get that say nothing: ``runtimes`` are program and arguments
    by name, ``cgroup_driver`` is cgroupfs or systemd (empty: as the host has it), ``default_ulimits``
    have HostConfig's form, ``seccomp_profile`` is a file, ``unconfined`` or ``builtin``.
    ``bridge`` is the default bridge network's interface (empty: the data root's own, ``onggi0`` for
    the default one; ``none``: there is no such network), ``bip`` its address and range
    (``172.17.0.1/16``; empty: chosen), ``mtu`` its packets' size (0: the kernel's), ``ip`` where ports
    are published by default;
    ``default_address_pools`` are ranges that networks are given parts of, each with the length of a part.
    """

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
    partial_max_age_s: float = 7 * 86400.0
    certs_dirs: tuple[Path, ...] = _CERTS_DIRS
    docker_config_dir: Path = Path("/root/.docker")
    docker_auth_config: str = field(default="", repr=False)
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    labels: tuple[str, ...] = ()
    debug: bool = False
    keep_blobs: bool = False
    compat: str = "28"
    default_platform: str | None = None
    log_driver: str = "json-file"
    log_opts: Mapping[str, str] = field(default_factory=dict, hash=False)
    default_runtime: str = "runc"
    runtimes: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict, hash=False)
    cgroup_driver: str = ""
    cgroup_parent: str = ""
    init: bool = False
    init_path: str = ""
    default_ulimits: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    default_shm_bytes: int = 64 * 1024 * 1024
    default_ipc_mode: str = "private"
    default_cgroupns_mode: str = ""
    no_new_privileges: bool = False
    seccomp_profile: str = ""
    bridge: str = ""
    bip: str = ""
    default_address_pools: tuple[tuple[str, int], ...] = ()
    ip: str = ""
    userland_proxy: bool = True
    mtu: int = 0

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
        path = _config_file(named) if named else Path(DEFAULT_CONFIG_FILE)
        settings: dict[str, Any] = {"config_file": path} | _places_of_user(environ)
        settings |= _from_docker_environment(environ)
        settings |= _from_file(path, required=bool(named))
        settings |= _from_environment(environ)
        settings |= _from_flags(flags)
        return cls(**settings)


# --- sources -------------------------------------------------------------------------------------

# field: (key in daemon.json or "", kind of value: see setting_values.KINDS)
_SETTINGS: dict[str, tuple[str, str]] = {
    "data_root": ("data-root", "path"),
    "exec_root": ("exec-root", "path"),
    "config_file": ("", "path"),
    "storage_driver": ("storage-driver", "text"),
    "storage_opts": ("storage-opts", "texts"),
    "registry_mirrors": ("registry-mirrors", "mirrors"),
    "registries": ("registry-mirrors-for", "mirrors by registry"),
    "insecure_registries": ("insecure-registries", "insecure registries"),
    "max_concurrent_downloads": ("max-concurrent-downloads", "count"),
    "max_concurrent_uploads": ("max-concurrent-uploads", "count"),
    "max_download_attempts": ("max-download-attempts", "count"),
    "limit_rate_bytes_per_s": ("limit-rate", "count"),
    "stall_timeout_s": ("stall-timeout", "seconds"),
    "parallel_range_min_bytes": ("parallel-range-min-bytes", "positive count"),
    "partial_max_age_s": ("partial-max-age", "seconds"),
    "certs_dirs": ("certs-dirs", "paths"),
    "docker_config_dir": ("", "path"),
    "docker_auth_config": ("", "text"),
    "http_proxy": ("http-proxy", "text"),
    "https_proxy": ("https-proxy", "text"),
    "no_proxy": ("no-proxy", "text"),
    "labels": ("labels", "labels"),
    "debug": ("debug", "boolean"),
    "keep_blobs": ("keep-blobs", "boolean"),
    "compat": ("compat", "compat"),
    "default_platform": ("", "text"),
    "log_driver": ("log-driver", "text"),
    "log_opts": ("log-opts", "texts by name"),
    "default_runtime": ("default-runtime", "text"),
    "runtimes": ("runtimes", "runtimes"),
    "cgroup_driver": ("exec-opts", "cgroup driver"),
    "cgroup_parent": ("cgroup-parent", "text"),
    "init": ("init", "boolean"),
    "init_path": ("init-path", "text"),
    "default_ulimits": ("default-ulimits", "ulimits"),
    "default_shm_bytes": ("default-shm-size", "bytes"),
    "default_ipc_mode": ("default-ipc-mode", "ipc mode"),
    "default_cgroupns_mode": ("default-cgroupns-mode", "cgroup namespace"),
    "no_new_privileges": ("no-new-privileges", "boolean"),
    "seccomp_profile": ("seccomp-profile", "text"),
    "bridge": ("bridge", "text"),
    "bip": ("bip", "text"),
    "default_address_pools": ("default-address-pools", "pools"),
    "ip": ("ip", "text"),
    "userland_proxy": ("userland-proxy", "boolean"),
    "mtu": ("mtu", "count"),
}
_FIELD_OF_KEY = {key: name for name, (key, _) in _SETTINGS.items() if key}
# Settings for which 0 stands for the default, as in dockerd.
_ZERO_IS_DEFAULT = frozenset(
    ("max_concurrent_downloads", "max_concurrent_uploads", "max_download_attempts", "limit_rate_bytes_per_s")
)


def _config_file(named: object) -> Path:
    (path,) = _checked([("config_file", "config-file", named)], "").values()
    return Path(path)


def _absolute(text: str) -> Path:
    return Path(os.path.abspath(text))


def _from_docker_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """What the variables of Docker and of every HTTP client say."""
    settings: dict[str, Any] = {}
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        # Capitals win, as in Go. But in a CGI program HTTP_PROXY comes from a header of the request
        # (httpoxy, CVE-2016-5386).
        foreign = name == "http_proxy" and "REQUEST_METHOD" in environ
        value = (None if foreign else environ.get(name.upper())) or environ.get(name)
        if value:
            settings[name] = value
    home = environ.get("HOME") or _home_of_user()
    settings["docker_config_dir"] = _absolute(environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker"))
    if os.geteuid() != 0:
        # dockerd without root looks there, and there only; what the host's owner set up serves as well.
        configs = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        settings["certs_dirs"] = (_absolute(os.path.join(configs, "docker/certs.d")), *_CERTS_DIRS)
    own = {"docker_auth_config": "DOCKER_AUTH_CONFIG", "default_platform": "DOCKER_DEFAULT_PLATFORM"}
    return settings | {name: environ[key] for name, key in own.items() if environ.get(key)}


def _places_of_user(environ: Mapping[str, str]) -> dict[str, Any]:
    """Where who is not root has images, and what lives until the host is off (XDG base directories)."""
    if os.geteuid() == 0:
        return {}
    home = environ.get("HOME") or _home_of_user()
    data = environ.get("XDG_DATA_HOME") or os.path.join(home, ".local/share")
    places = {"data_root": _absolute(os.path.join(data, "onggi"))}
    if run := environ.get("XDG_RUNTIME_DIR"):
        places["exec_root"] = _absolute(os.path.join(run, "onggi"))
    return places


def _home_of_user() -> str:
    """From the user database, where a service has no HOME."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "/"


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    where = f"unable to configure Onggi with file {path}"
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        if not required:
            return {}
        raise ConfigError(f"{where}: no such file", hint="check --config-file and ONGGI_CONFIG") from error
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}") from error
    document = _parse(raw, where)
    keys = _known_keys(document, where, path)
    return _checked(((_FIELD_OF_KEY[key], key, value) for key, value in keys.items()), f"{where}: ")


def _parse(raw: bytes, where: str) -> dict[str, Any]:
    # dockerd reads a byte order mark too: editors of Windows write one.
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
        document = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: {error}", hint="it must be JSON") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{where}: it is not a JSON object")
    return document


def _known_keys(document: dict[str, Any], where: str, path: Path) -> dict[str, Any]:
    """The keys that are settings of ours, those inside ``proxies`` included."""
    proxies = document.get("proxies")
    if proxies is not None and not isinstance(proxies, dict):
        raise ConfigError(f"{where}: proxies must be an object")
    entries = {key: value for key, value in document.items() if key != "proxies"} | (proxies or {})
    unknown = [key for key in entries if key not in _FIELD_OF_KEY and key not in _DOCKER_ONLY]
    if unknown:
        raise ConfigError(
            f"{where}: the following directives don't match any configuration option: "
            f"{', '.join(sorted(unknown))}",
            hint=_advice(unknown[0], path),
        )
    return {key: value for key, value in entries.items() if key in _FIELD_OF_KEY and value is not None}


def _advice(key: str, path: Path) -> str:
    import difflib  # on the way to an error only

    close = difflib.get_close_matches(key, (*_FIELD_OF_KEY, *_DOCKER_ONLY), 1)
    return f"did you mean {close[0]}?" if close else f"correct or remove it in {path}"


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (_, kind) in _SETTINGS.items():
        variable = f"ONGGI_{name.upper()}"
        text = environ.get(variable)
        if text and name != "config_file":
            from onggi.setting_values import read_text

            found |= _checked([(name, variable, read_text(text, kind))], "")
    return found


def _from_flags(flags: Mapping[str, object]) -> dict[str, Any]:
    unknown = sorted(name for name in flags if name not in _SETTINGS)
    if unknown:
        raise ConfigError(f"unknown setting: {', '.join(unknown)}")
    return _checked(((name, name.replace("_", "-"), value) for name, value in flags.items()), "")


def _checked(settings: Iterable[tuple[str, str, object]], where: str) -> dict[str, Any]:
    """Accept or refuse (field, its name in this source, value). Raises ConfigError naming the source."""
    result: dict[str, Any] = {}
    for name, shown, value in settings:
        accepted = _accepted(name, f"{where}{shown}", value)
        if accepted != 0 or name not in _ZERO_IS_DEFAULT:
            result[name] = accepted
    return result


def _accepted(name: str, shown: str, value: object) -> object:
    from onggi.setting_values import KINDS

    try:
        return KINDS[_SETTINGS[name][1]](value)
    except ValueError as error:
        reason, *hint = error.args
        raise ConfigError(f"{shown}: {reason}", hint=hint[0] if hint else "") from error

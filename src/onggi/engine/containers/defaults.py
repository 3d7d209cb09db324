"""What the engine's configuration says for containers that say nothing themselves.

Source: moby ``daemon/config``, ``daemon/daemon_unix.go``, ``daemon/runtime_unix.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from onggi.config import Config
from onggi.engine.containers.checks import InvalidOption
from onggi.errors import FailedPrecondition
from onggi.record import replace
from onggi.runtime.directories import runtime_root
from onggi.runtime.host import HostFacts
from onggi.runtime.runc import Runc, find_program, find_runtime
from onggi.runtime.security import UNCONFINED
from onggi.runtime.spec import Defaults

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "InitMissing",
    "container_defaults",
    "host_facts",
    "known_runtime",
    "runtime_of",
    "with_defaults",
]

_INIT_PROGRAMS = ("docker-init", "tini", "tini-static")
_BUILTIN = ("", "builtin")


class InitMissing(FailedPrecondition):
    """A container is to run under an init program, and there is none."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f'exec: "{name}": executable file not found in $PATH',
            hint="install one (Debian: apt-get install tini), or name it in daemon.json: init-path",
        )


class UnreadableProfile(FailedPrecondition):
    """The seccomp profile of every container cannot be read."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"opening seccomp profile ({path}) failed: {reason}", hint="seccomp-profile in daemon.json"
        )


@cache
def _facts() -> HostFacts:
    """Read once: a host does not become another while a process runs."""
    return HostFacts.read()


def host_facts(config: Config) -> HostFacts:
    """The host, groups made the way that the configuration says."""
    facts = _facts()
    return replace(facts, systemd=config.cgroup_driver == "systemd") if config.cgroup_driver else facts


def runtime_of(config: Config, name: str) -> Runc:
    """A runtime by a name of the configuration, or of a program. Raises RuntimeMissing."""
    wanted = name or config.default_runtime
    program, arguments = config.runtimes.get(wanted, (wanted, ()))
    systemd = host_facts(config).systemd
    root = runtime_root(config.exec_root, wanted)
    return Runc(find_runtime(program), root, systemd_cgroup=systemd, arguments=arguments)


def known_runtime(config: Config, name: str) -> str:
    """The name, or that of the default. Raises InvalidOption for one that nobody knows."""
    if name and name not in config.runtimes and find_program(name) is None:
        words = (
            "Unknown runtime specified" if config.compat == "20.10" else "unknown or invalid runtime name:"
        )
        raise InvalidOption(f"{words} {name}", hint="install it, or say in daemon.json where it is: runtimes")
    return name or config.default_runtime


def with_defaults(host_config: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """HostConfig, what it does not say filled in from the configuration. Raises InvalidOption."""
    filled = dict(host_config)
    filled["ShmSize"] = filled.get("ShmSize") or config.default_shm_bytes
    filled["IpcMode"] = filled.get("IpcMode") or config.default_ipc_mode
    if not filled.get("Privileged"):
        filled["CgroupnsMode"] = filled.get("CgroupnsMode") or config.default_cgroupns_mode
    filled["Runtime"] = known_runtime(config, filled.get("Runtime") or "")
    return filled


def container_defaults(config: Config, host_config: Mapping[str, Any]) -> Defaults:
    """For the runtime spec. Raises InitMissing, UnreadableProfile."""
    wanted = host_config.get("Init")
    uses_init = not host_config.get("PidMode") and (config.init if wanted is None else bool(wanted))
    return Defaults(
        cgroup_parent=config.cgroup_parent,
        use_init=config.init,
        init_path=_init_program(config) if uses_init else "",
        ulimits=config.default_ulimits,
        seccomp=_seccomp(config.seccomp_profile),
        compat=config.compat,
    )


def _init_program(config: Config) -> str:
    for name in (config.init_path,) if config.init_path else _INIT_PROGRAMS:
        path = find_program(name)
        if path is not None:
            return path
    raise InitMissing(config.init_path or _INIT_PROGRAMS[0])


def _seccomp(profile: str) -> str:
    """Empty for the profile that is built in, ``unconfined``, or a file's text."""
    if profile in _BUILTIN:
        return ""
    if profile == UNCONFINED:
        return profile
    try:
        return Path(profile).read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableProfile(profile, reason.lower()) from error

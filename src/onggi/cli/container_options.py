"""From the words of ``run`` and ``create`` to Docker's Config and HostConfig.

Source: docker/cli ``cli/command/container/opts.go`` (parse).
"""

from __future__ import annotations

from collections.abc import Callable

from onggi.cli.container_health import health_config
from onggi.cli.environment_files import file_lines, read_environment
from onggi.cli.network_options import NetworkOptionError, network_settings, published_ports
from onggi.cli.session import Failure, Session

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from onggi.engine.containers.create import CreateRequest
    from onggi.oci.platform import Platform

    T = TypeVar("T")

__all__ = ["create_request", "refuse"]

_USAGE = 125
# Flags whose value goes to a HostConfig field as it is.
_LISTS = {
    "blkio-weight-device": "BlkioWeightDevice",
    "device-cgroup-rule": "DeviceCgroupRules",
    "device-read-bps": "BlkioDeviceReadBps",
    "device-read-iops": "BlkioDeviceReadIOps",
    "device-write-bps": "BlkioDeviceWriteBps",
    "device-write-iops": "BlkioDeviceWriteIOps",
    "dns": "Dns",
    "dns-option": "DnsOptions",
    "dns-search": "DnsSearch",
    "gpus": "DeviceRequests",
    "ulimit": "Ulimits",
    "add-host": "ExtraHosts",
    "cap-add": "CapAdd",
    "cap-drop": "CapDrop",
    "group-add": "GroupAdd",
    "mount": "Mounts",
    "volumes-from": "VolumesFrom",
}
_PLAIN = {
    "cgroup-parent": "CgroupParent",
    "cgroupns": "CgroupnsMode",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "ipc": "IpcMode",
    "isolation": "Isolation",
    "pid": "PidMode",
    "runtime": "Runtime",
    "userns": "UsernsMode",
    "volume-driver": "VolumeDriver",
    "uts": "UTSMode",
    "publish-all": "PublishAllPorts",
    "cidfile": "ContainerIDFile",
    "privileged": "Privileged",
    "read-only": "ReadonlyRootfs",
    "rm": "AutoRemove",
    "oom-kill-disable": "OomKillDisable",
    "oom-score-adj": "OomScoreAdj",
    "memory-swappiness": "MemorySwappiness",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-rt-period": "CpuRealtimePeriod",
    "cpu-rt-runtime": "CpuRealtimeRuntime",
    "cpu-shares": "CpuShares",
}
# Values with a form of their own: absent unless given.
_VALUES = {
    "blkio-weight": "BlkioWeight",
    "cpus": "NanoCpus",
    "kernel-memory": "KernelMemory",
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
    "shm-size": "ShmSize",
    "pids-limit": "PidsLimit",
}
_MAPS = {"annotation": "Annotations", "sysctl": "Sysctls", "tmpfs": "Tmpfs"}


def refuse(session: Session, message: str) -> Failure:
    """Docker's way to say that options do not go together."""
    from onggi.cli.command import PROGRAM

    caller = f"{PROGRAM} {session.path}"
    return Failure(f"{PROGRAM}: {message}\n\nRun '{caller} --help' for more information", _USAGE)


def create_request(session: Session, *, detach: bool) -> CreateRequest:
    """What is asked for. Raises Failure for options that contradict each other."""
    from onggi.engine.containers.create import CreateRequest

    _check(session, detach)
    config, host_config = _config(session, detach), _host_config(session)
    try:
        exposed, host_config["PortBindings"] = published_ports(session)
        host_config["NetworkMode"], networks = network_settings(session)
    except NetworkOptionError as error:
        raise refuse(session, str(error)) from error
    config["ExposedPorts"] = exposed or None
    config["MacAddress"] = session.flag("mac-address") or None
    host_config["Links"] = list(session.flag("link")) or None
    name, layer = session.flag("name"), session.flag("layer")
    return CreateRequest(config, host_config, name, networks, _platform(session), layer)


def _platform(session: Session) -> Platform | None:
    text = session.flag("platform")
    if not text:
        return None
    from onggi.oci.platform import InvalidPlatform, Platform

    try:
        return Platform.parse(text)
    except InvalidPlatform as error:
        raise refuse(session, f"error parsing specified platform: {error}") from error


_MODES = (("pid", "PID"), ("uts", "UTS"), ("userns", "USER"), ("cgroupns", "CGROUP"))


def _check(session: Session, detach: bool) -> None:
    from onggi.cli import flag_values
    from onggi.runtime.namespaces import is_mode

    if detach and session.flag("attach"):
        raise Failure("conflicting options: cannot specify both --attach and --detach")
    pull = session.flag("pull")
    if pull not in ("always", "missing", "never"):
        raise refuse(
            session, f'invalid pull option: \'{pull}\': must be one of "always", "missing" or "never"'
        )
    policy = _read(session, lambda session: flag_values.restart(session.flag("restart")))
    if session.flag("rm") and policy["Name"] not in ("", "no"):
        raise refuse(session, "conflicting options: cannot specify both --restart and --rm")
    for name, shown in _MODES:
        if not is_mode(name, session.flag(name)):
            raise refuse(session, f"--{name}: invalid {shown} mode")
    swappiness = session.flag("memory-swappiness")
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise refuse(session, f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")


# --- Config -------------------------------------------------------------------------------------


def _config(session: Session, detach: bool) -> dict[str, Any]:
    image, *command = session.arguments
    config: dict[str, Any] = {
        "Hostname": session.flag("hostname"),
        "Domainname": session.flag("domainname"),
        "User": session.flag("user"),
        **_streams(session, detach),
        "Tty": session.flag("tty"),
        "OpenStdin": session.flag("interactive"),
        "Env": _read(session, read_environment),
        "Cmd": command or None,
        "Healthcheck": health_config(session),
        "Image": image,
        "WorkingDir": session.flag("workdir"),
        "Labels": _read(session, _labels),
        "StopSignal": session.flag("stop-signal"),
        "Volumes": {word: {} for word, is_bind in _volumes(session) if not is_bind},
    }
    if session.given("entrypoint"):
        config["Entrypoint"] = [session.flag("entrypoint")]
    if session.given("stop-timeout"):
        config["StopTimeout"] = session.flag("stop-timeout")
    return config


def _volumes(session: Session) -> list[tuple[str, bool]]:
    """``-v``: what the API gets, and whether it has a source; else it is a place of the Config."""
    if not session.given("volume"):
        return []
    from onggi.cli.mount_flag import volume_word

    try:
        return [volume_word(text) for text in session.flag("volume")]
    except ValueError as error:
        raise refuse(session, str(error)) from error


def _streams(session: Session, detach: bool) -> dict[str, bool]:
    """With nothing said: output, and input when it is kept open; detached: none."""
    named = list(session.flag("attach"))
    if not detach:
        named = named or ["stdout", "stderr"]
        named += ["stdin"] if session.flag("interactive") else []
    return {
        "AttachStdin": "stdin" in named,
        "AttachStdout": "stdout" in named,
        "AttachStderr": "stderr" in named,
        "StdinOnce": session.flag("interactive") and "stdin" in named,
    }


def _read(session: Session, read: Callable[[Session], T]) -> T:
    """What an option says, read here and not by its flag: so does Docker, and complains in other words."""
    try:
        return read(session)
    except ValueError as error:
        raise refuse(session, str(error)) from error


def _labels(session: Session) -> dict[str, str]:
    """A line without a value takes the environment's in a file of variables, and says nothing here."""
    lines = [line for path in session.flag("label-file") for line in file_lines(path) if "=" in line]
    return dict(line.split("=", 1) for line in lines) | dict(session.flag("label"))


# --- HostConfig ---------------------------------------------------------------------------------


def _host_config(session: Session) -> dict[str, Any]:
    config: dict[str, Any] = {field: session.flag(flag) for flag, field in _PLAIN.items()}
    config |= {field: list(session.flag(flag)) or None for flag, field in _LISTS.items()}
    config |= {field: session.flag(flag) for flag, field in _VALUES.items() if session.given(flag)}
    config |= {field: dict(session.flag(flag)) or None for flag, field in _MAPS.items()}
    driver, log_options = session.flag("log-driver"), dict(session.flag("log-opt"))
    if driver == "none" and log_options:
        raise refuse(session, "invalid logging opts for driver none")
    config["LogConfig"] = {"Type": driver, "Config": log_options}
    config["StorageOpt"] = _storage_options(session)
    if session.given("init"):
        config["Init"] = session.flag("init")
    return config | _read(session, _devices_and_security)


def _storage_options(session: Session) -> dict[str, str] | None:
    pairs = [text.partition("=") for text in session.flag("storage-opt")]
    if not all(equals for _, equals, _ in pairs):
        raise refuse(session, "invalid storage option")
    return {key: value for key, _, value in pairs} or None


def _devices_and_security(session: Session) -> dict[str, Any]:
    from onggi.cli import flag_values

    options = [flag_values.security(text) for text in session.flag("security-opt")]
    config: dict[str, Any] = {
        "Devices": [flag_values.device(text) for text in session.flag("device")] or None,
        "RestartPolicy": flag_values.restart(session.flag("restart")),
    }
    if "systempaths=unconfined" in options:
        options.remove("systempaths=unconfined")
        config["MaskedPaths"] = config["ReadonlyPaths"] = []
    binds = [word for word, is_bind in _volumes(session) if is_bind]
    return {**config, "SecurityOpt": options or None, "Binds": binds or None}

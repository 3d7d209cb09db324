"""From the words of ``run`` and ``create`` to Docker's Config and HostConfig.

Source: docker/cli ``cli/command/container/opts.go`` (parse).
"""

from __future__ import annotations

from onggi.cli.container_health import health_config
from onggi.cli.network_options import NetworkOptionError, network_settings, published_ports
from onggi.cli.session import Failure, Session

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.containers.create import CreateRequest

__all__ = ["create_request", "read_environment", "refuse"]

_USAGE = 125
# Flags whose value goes to a HostConfig field as it is.
_LISTS = {
    "blkio-weight-device": "BlkioWeightDevice",
    "device": "Devices",
    "device-cgroup-rule": "DeviceCgroupRules",
    "device-read-bps": "BlkioDeviceReadBps",
    "device-read-iops": "BlkioDeviceReadIOps",
    "device-write-bps": "BlkioDeviceWriteBps",
    "device-write-iops": "BlkioDeviceWriteIOps",
    "dns": "Dns",
    "dns-option": "DnsOptions",
    "dns-search": "DnsSearch",
    "ulimit": "Ulimits",
    "add-host": "ExtraHosts",
    "cap-add": "CapAdd",
    "cap-drop": "CapDrop",
    "group-add": "GroupAdd",
}
_PLAIN = {
    "cgroup-parent": "CgroupParent",
    "cgroupns": "CgroupnsMode",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "ipc": "IpcMode",
    "pid": "PidMode",
    "runtime": "Runtime",
    "userns": "UsernsMode",
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
    "restart": "RestartPolicy",
}
_MAPS = {"annotation": "Annotations", "storage-opt": "StorageOpt", "sysctl": "Sysctls", "tmpfs": "Tmpfs"}


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
    return CreateRequest(config, host_config, session.flag("name"), networks)


def _check(session: Session, detach: bool) -> None:
    policy = session.flag("restart") or {"Name": "no"}
    if session.flag("rm") and policy["Name"] not in ("", "no"):
        raise refuse(session, "conflicting options: cannot specify both --restart and --rm")
    if detach and session.flag("attach"):
        raise refuse(session, "conflicting options: cannot specify both --attach and --detach")
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
        "Env": read_environment(session),
        "Cmd": command or None,
        "Healthcheck": health_config(session),
        "Image": image,
        "WorkingDir": session.flag("workdir"),
        "Labels": _labels(session),
        "StopSignal": session.flag("stop-signal"),
    }
    if session.given("entrypoint"):
        config["Entrypoint"] = [session.flag("entrypoint")]
    if session.given("stop-timeout"):
        config["StopTimeout"] = session.flag("stop-timeout")
    return config


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


def read_environment(session: Session) -> list[str]:
    """Files first, then what stands on the command line."""
    from onggi.cli.flag_values import environment

    entries = []
    for path in session.flag("env-file"):
        entries += [environment(line) for line in _file_lines(session, path)]
    return entries + list(session.flag("env"))


def _labels(session: Session) -> dict[str, str]:
    labels: dict[str, str] = {}
    for path in session.flag("label-file"):
        labels |= dict(_label(line) for line in _file_lines(session, path))
    return labels | dict(_label(text) for text in session.flag("label"))


def _label(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _file_lines(session: Session, path: str) -> list[str]:
    """Lines that are neither blank nor a comment."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise refuse(session, f"open {path}: {reason}") from error
    except UnicodeDecodeError as error:
        raise refuse(session, f"env file {path} contains invalid utf8 bytes") from error
    kept = [line.lstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for line in kept:
        name = line.partition("=")[0]
        if not name or name.rstrip() != name or " " in name:
            raise refuse(session, f"poorly formatted environment: variable '{name}' contains whitespaces")
    return kept


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
    if session.given("init"):
        config["Init"] = session.flag("init")
    options = list(session.flag("security-opt"))
    if "systempaths=unconfined" in options:
        options.remove("systempaths=unconfined")
        config["MaskedPaths"] = config["ReadonlyPaths"] = []
    config["SecurityOpt"] = options or None
    return config

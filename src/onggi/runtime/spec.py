"""The OCI runtime spec of a container: a pure function of what is wanted and of the host.

Docker's Config (image and command line) and HostConfig come as the objects that its API and
its files have, complete; everything that had to be looked up (user, devices, other
containers' namespaces) comes as a value.

Source: OCI runtime-spec 1.0.2; moby ``daemon/oci_linux.go`` (createSpec).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onggi.record import field, record
from onggi.runtime import devices as device_rules
from onggi.runtime.capabilities import container_capabilities
from onggi.runtime.devices import DeviceNode
from onggi.runtime.host import NETWORK_SYSCTLS, HostFacts
from onggi.runtime.mounts import Mount, masked_paths, mount_entries, readonly_paths
from onggi.runtime.namespaces import is_private_network, namespaces
from onggi.runtime.process import INIT_IN_CONTAINER, environment, rlimits, with_init
from onggi.runtime.resources import resources
from onggi.runtime.seccomp import fit, parse_profile
from onggi.runtime.seccomp_profile import default_profile
from onggi.runtime.security import UNCONFINED, Security
from onggi.runtime.user import User

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["OCI_VERSION", "Defaults", "SpecRequest", "build_spec"]

OCI_VERSION = "1.0.2-dev"
_CGROUP_PREFIX = "docker"

_DEEP_READ_ONLY = (5, 12)
"""Kernel from which on a whole tree of mounts becomes read-only (mount_setattr(2))."""


@record
class Defaults:
    """What the engine's configuration says for every container.

    ``init_path`` is the host's init program (empty: none is installed), ``use_init`` whether
    containers that say nothing get it. ``ulimits`` have HostConfig's form. ``seccomp`` is the profile
    of containers that name none: empty for the one built in, ``unconfined``, or JSON.
    """

    cgroup_parent: str = ""
    use_init: bool = False
    init_path: str = ""
    ulimits: Sequence[Mapping[str, Any]] = ()
    seccomp: str = ""
    compat: str = "28"


@record
class SpecRequest:
    """Everything about one container.

    ``args`` are program and arguments. ``rootfs`` is where the root is mounted. ``mounts``
    are users' and the engine's (hosts, resolv.conf, hostname). ``joined`` maps kinds of
    namespaces to paths. ``mapped`` are nodes for ``--device``, each with its access (``rwm``);
    ``host_nodes`` what a privileged container gets. ``linked`` are variables of linked containers.
    """

    id: str
    args: Sequence[str]
    config: Mapping[str, Any] = field(repr=False, hash=False)
    host_config: Mapping[str, Any] = field(repr=False, hash=False)
    rootfs: str
    user: User
    security: Security = Security()
    mounts: Sequence[Mount] = ()
    joined: Mapping[str, str] = field(default_factory=dict, hash=False)
    mapped: Sequence[tuple[DeviceNode, str]] = ()
    host_nodes: Sequence[DeviceNode] = ()
    defaults: Defaults = Defaults()
    linked: Sequence[str] = ()


def build_spec(request: SpecRequest, host: HostFacts) -> tuple[dict[str, Any], list[str]]:
    """``config.json`` of the bundle, and warnings.

    Raises InvalidArgument (of many kinds) for options that make no sense.
    """
    capabilities, missing = container_capabilities(request.host_config, host.known, host.bounding)
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": _process(request, host, capabilities),
        "root": _root(request),
        "hostname": _hostname(request),
        "mounts": _mounts(request, host),
        "linux": _linux(request, host, capabilities),
    }
    annotations = request.host_config.get("Annotations")
    if annotations:
        spec["annotations"] = dict(annotations)
    if not spec["hostname"]:
        del spec["hostname"]
    return spec, [_cannot_give(missing)] if missing else []


def _cannot_give(missing: Sequence[str]) -> str:
    return f"this host cannot give {', '.join(missing)}: the container runs without"


def _hostname(request: SpecRequest) -> str:
    if request.host_config.get("UTSMode") == "host":
        return ""
    return str(request.config.get("Hostname") or "")


def _root(request: SpecRequest) -> dict[str, Any]:
    root: dict[str, Any] = {"path": request.rootfs}
    if request.host_config.get("ReadonlyRootfs"):
        root["readonly"] = True
    return root


# --- process ----------------------------------------------------------------------------------


def _process(request: SpecRequest, host: HostFacts, capabilities: list[str]) -> dict[str, Any]:
    config, host_config = request.config, request.host_config
    tty = bool(config.get("Tty"))
    process: dict[str, Any] = {
        "user": request.user.entry(),
        "args": with_init(request.args) if _uses_init(request) else list(request.args),
        "env": environment(
            config.get("Hostname") or "", config.get("Env") or (), tty=tty, linked=request.linked
        ),
        "cwd": config.get("WorkingDir") or "/",
        "capabilities": _capability_sets(request.user, capabilities),
        "oomScoreAdj": host_config.get("OomScoreAdj") or 0,
    }
    limits = rlimits(host_config.get("Ulimits") or (), request.defaults.ulimits)
    height, width = host_config.get("ConsoleSize") or (0, 0)
    optional = {
        "terminal": tty,
        "consoleSize": {"height": height, "width": width} if tty and (height or width) else None,
        "rlimits": limits,
        "noNewPrivileges": request.security.no_new_privileges,
        "apparmorProfile": request.security.apparmor if host.apparmor else "",
    }
    return process | {key: value for key, value in optional.items() if value}


def _capability_sets(user: User, capabilities: list[str]) -> dict[str, list[str]]:
    """Root has them; others can gain them by files only.

    No inheritable ones: those would come back in programs with file capabilities (CVE-2022-24769).
    """
    kinds = ("bounding", "effective", "permitted") if user.uid == 0 else ("bounding",)
    return {kind: list(capabilities) for kind in kinds}


def _uses_init(request: SpecRequest) -> bool:
    wanted = request.host_config.get("Init")
    private = not request.host_config.get("PidMode")
    return private and (request.defaults.use_init if wanted is None else bool(wanted))


# --- mounts -----------------------------------------------------------------------------------


def _mounts(request: SpecRequest, host: HostFacts) -> list[dict[str, Any]]:
    deep = request.defaults.compat != "20.10" and host.kernel >= _DEEP_READ_ONLY
    entries = mount_entries(request.host_config, request.mounts, deep=deep)
    if _uses_init(request):
        entries.append(
            {
                "destination": INIT_IN_CONTAINER,
                "type": "bind",
                "source": request.defaults.init_path,
                "options": ["bind", "ro"],
            }
        )
    return entries


# --- linux ------------------------------------------------------------------------------------


def _linux(request: SpecRequest, host: HostFacts, capabilities: list[str]) -> dict[str, Any]:
    host_config = request.host_config
    linux: dict[str, Any] = {
        "cgroupsPath": cgroups_path(request, host),
        "namespaces": namespaces(host_config, request.joined),
        "resources": {**resources(host_config), "devices": _device_rules(request)},
    }
    nodes = [*(request.host_nodes if host_config.get("Privileged") else ()), *_mapped_nodes(request)]
    optional = {
        "devices": [device_rules.node_entry(node) for node in nodes],
        "sysctl": _sysctls(request, host),
        "seccomp": _seccomp(request, host, capabilities),
        "rootfsPropagation": _root_propagation(request.mounts),
        "maskedPaths": masked_paths(host_config, host.thermal, request.defaults.compat),
        "readonlyPaths": readonly_paths(host_config),
    }
    return linux | {key: value for key, value in optional.items() if value}


def cgroups_path(request: SpecRequest, host: HostFacts) -> str:
    """A path below each hierarchy's root; with systemd ``slice:prefix:name``."""
    given = request.host_config.get("CgroupParent") or request.defaults.cgroup_parent
    if host.systemd:
        return f"{given or 'system.slice'}:{_CGROUP_PREFIX}:{request.id}"
    parent = given or f"/{_CGROUP_PREFIX}"
    return f"{parent.rstrip('/')}/{request.id}"


def _device_rules(request: SpecRequest) -> list[dict[str, Any]]:
    if request.host_config.get("Privileged"):
        return list(device_rules.ANY)
    return [
        *device_rules.DEFAULT_RULES,
        *(device_rules.allow(node, access) for node, access in request.mapped),
        *device_rules.cgroup_rules(request.host_config.get("DeviceCgroupRules") or ()),
    ]


def _mapped_nodes(request: SpecRequest) -> list[DeviceNode]:
    """A privileged container has a host's node at its own place already."""
    there = {node.path for node in request.host_nodes} if request.host_config.get("Privileged") else set()
    return [node for node, _ in request.mapped if node.path not in there]


def _sysctls(request: SpecRequest, host: HostFacts) -> dict[str, str]:
    found: dict[str, str] = {}
    if is_private_network(request.host_config.get("NetworkMode")) and not host.in_user_namespace:
        found |= {name: NETWORK_SYSCTLS[name] for name in sorted(host.sysctls)}
    if request.config.get("Domainname"):
        found["kernel.domainname"] = request.config["Domainname"]
    return found | dict(request.host_config.get("Sysctls") or {})


def _seccomp(request: SpecRequest, host: HostFacts, capabilities: Sequence[str]) -> dict[str, Any] | None:
    text = request.security.seccomp or request.defaults.seccomp
    if request.host_config.get("Privileged") or text == UNCONFINED:
        return None
    profile = parse_profile(text) if text else default_profile(request.defaults.compat)
    return fit(profile, capabilities=capabilities, architecture=host.architecture, kernel=host.kernel)


_SHARED, _SLAVE = ("shared", "rshared"), ("slave", "rslave")


def _root_propagation(mounts: Sequence[Mount]) -> str:
    """The root must pass on what some mount shares; shared wins over slave."""
    wanted = {mount.propagation for mount in mounts if not mount.is_tmpfs}
    if wanted.intersection(_SHARED):
        return "shared"
    return "rslave" if wanted.intersection(_SLAVE) else ""

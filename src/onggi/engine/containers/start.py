"""Starting a container: its root, user, files and spec made ready, then handed to a supervisor.

Who starts holds the lease ``supervisor-<id>`` and passes it on: while it is held, the container
runs (or is being started or removed).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from onggi.engine.containers.attach_request import AttachRequest, Started
from onggi.engine.containers.container_events import event_attributes
from onggi.engine.containers.defaults import container_defaults, host_facts, runtime_of
from onggi.engine.containers.health import health_checks
from onggi.engine.containers.init_layer import ensure_directory
from onggi.engine.containers.log_settings import log_driver, log_file, log_settings
from onggi.engine.containers.network_files import hosts_file, resolv_conf
from onggi.engine.containers.networking import Connection, Networks
from onggi.engine.containers.running import runtime_state, supervisor_lock
from onggi.engine.containers.start_mounts import PreparedMounts, prepare_mounts, remove_bundle
from onggi.engine.core import Core
from onggi.errors import Conflict, FailedPrecondition, OnggiError
from onggi.linux.unix_socket import stream_pair
from onggi.oci.digest import Digest
from onggi.oci.quoting import quoted
from onggi.runtime.cgroups import end_groups, group_path
from onggi.runtime.client import Attached
from onggi.runtime.directories import running_directory
from onggi.runtime.host import HostFacts
from onggi.runtime.launch import NewSupervisor
from onggi.runtime.namespaces import shared_container
from onggi.runtime.request import spec_request
from onggi.runtime.runc import Runc, runtime_environment
from onggi.runtime.spec import build_spec
from onggi.runtime.supervisor.network import NAMESPACE
from onggi.runtime.user import User, read_accounts, resolve_user
from onggi.store.atomic import make_directory
from onggi.store.containers import StoredContainer
from onggi.store.locks import Lease

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "container_runtime",
    "end_processes",
    "start_container",
]

_START_IT = "start it first: its namespaces are to be shared"


class NoDeviceDriver(FailedPrecondition):
    """Nobody here gives devices by what they can do (``--gpus``)."""

    def __init__(self, driver: str, capabilities: str) -> None:
        super().__init__(
            f"could not select device driver {quoted(driver)} with capabilities: [{capabilities}]",
            hint="give the container the nodes it needs: --device /dev/…",
        )


def container_runtime(core: Core, host_config: Mapping[str, Any]) -> Runc:
    """The OCI runtime that a container asks for. Raises RuntimeMissing."""
    return runtime_of(core.config, host_config.get("Runtime") or "")


def _group(core: Core, stored: StoredContainer, host: HostFacts) -> str:
    parent = stored.host_config.get("CgroupParent") or core.config.cgroup_parent
    return group_path(str(parent), stored.id, host)


def end_processes(core: Core, stored: StoredContainer) -> None:
    """End what runs of a container, by the names of its groups; then the runtime forgets it."""
    end_groups(_group(core, stored, host_facts(core.config)))
    if os.path.lexists(runtime_state(core, stored)):
        try:
            container_runtime(core, stored.host_config).delete(stored.id, force=True)
        except OnggiError:
            return  # the runtime is gone, or its state is still mounted: the next command's turn


def start_container(
    core: Core,
    networks: Networks,
    stored: StoredContainer,
    lease: Lease,
    attach: AttachRequest | None,
    supervisor: NewSupervisor,
) -> Started:
    """Start it under ``lease``, which this call releases on failure and hands over on success."""
    starting = _Starting(core, networks, stored, supervisor)
    try:
        return starting.run(lease, attach)
    except OnggiError as error:
        starting.note_failure(error)
        raise
    finally:
        lease.release()


class _Starting:
    """One start."""

    def __init__(
        self, core: Core, networks: Networks, stored: StoredContainer, supervisor: NewSupervisor
    ) -> None:
        self._core = core
        self._supervisor = supervisor
        self._networks = networks
        self._stored = stored
        self._host = host_facts(core.config)
        self._group = _group(core, stored, self._host)
        self._bundle = running_directory(core.config.exec_root, stored.id)
        self._directory = core.containers.path(stored.id)
        self._layer = core.writable.get(stored.id)
        self._rootfs = core.writable.rootfs(self._layer)
        self._mounts = PreparedMounts()

    def run(self, lease: Lease, attach: AttachRequest | None) -> Started:
        """Prepare, launch; what was prepared is undone when that fails."""
        with ExitStack() as stack:
            root = self._core.writable.mount(self._layer, volatile=self._stored.auto_remove)
            stack.callback(os.close, root)
            user = self._prepare_root(root)
            self._mounts = prepare_mounts(self._core, self._stored, self._bundle, stack)
            connection = self._networks.connect(self._stored.document, self._stored.host_config)
            stack.callback(connection.close)
            try:
                warnings = self._write_bundle(user, connection)
                attached = self._launch(lease, root, user, connection, attach, stack)
            except BaseException:
                connection.abandon()
                self._networks.disconnect(self._stored.id)
                raise
        return Started(attached, tuple(warnings))

    def note_failure(self, error: OnggiError) -> None:
        """Docker's state of a container whose start failed; the supervisor may have written more."""
        code = getattr(error, "exit_code", 128)
        end_processes(self._core, self._stored)
        remove_bundle(self._bundle)

        def change(document: dict[str, Any]) -> None:
            if not document["State"]["Error"]:
                document["State"].update(ExitCode=code, Error=error.message)

        self._core.containers.update(self._stored.id, change, durable=not self._stored.auto_remove)

    # --- preparing --------------------------------------------------------------------------

    def _prepare_root(self, root: int) -> User:
        config = self._stored.config
        _check_device_requests(self._stored.host_config)
        accounts = read_accounts(root)
        user = resolve_user(
            config.get("User") or "", accounts, self._stored.host_config.get("GroupAdd") or ()
        )
        if config.get("WorkingDir"):
            ensure_directory(root, config["WorkingDir"])
        return user

    def _write_bundle(self, user: User, connection: Connection) -> list[str]:
        self._write_network_files(connection)
        if self._bundle.exists():
            remove_bundle(self._bundle)
        for path in (self._core.config.exec_root, self._bundle.parent, self._bundle):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        request = spec_request(
            self._stored.document,
            self._stored.host_config,
            rootfs=str(self._rootfs),
            user=user,
            joined=self._joined(connection),
            defaults=container_defaults(self._core.config, self._stored.host_config),
            sources=self._mounts.sources,
            linked=connection.environment,
        )
        spec, warnings = build_spec(request, self._host)
        (self._bundle / "config.json").write_text(json.dumps(spec), "utf-8", "surrogateescape")
        return warnings

    def _write_network_files(self, connection: Connection) -> None:
        id, host_config = self._stored.id, self._stored.host_config
        resolv = resolv_conf(host_config, connection.nameservers)
        files = {
            "hostname": f"{self._stored.config.get('Hostname') or ''}\n".encode(),
            "hosts": hosts_file(host_config, connection.addresses, connection.gateway),
            "resolv.conf": resolv,
            "resolv.conf.hash": Digest.of(resolv).encode(),
        }
        for name, data in files.items():
            self._core.containers.write_file(id, name, data)
        make_directory(self._directory / "mounts", 0o710)
        paths = {
            "LogPath": self._log_path(),
            "HostnamePath": str(self._directory / "hostname"),
            "HostsPath": str(self._directory / "hosts"),
            "ResolvConfPath": str(self._directory / "resolv.conf"),
            "ShmPath": self._shm_path(),
        }

        def change(document: dict[str, Any]) -> None:
            document.update(paths)
            document["NetworkSettings"].update(connection.settings)
            document["NetworkSettings"]["Ports"] = document["NetworkSettings"]["Ports"] or {}
            document["State"]["Error"] = ""

        # Not worth a flush: the supervisor writes the file anew in a moment.
        self._core.containers.update(id, change, durable=False)
        self._stored.document.update(paths)

    def _log_path(self) -> str:
        """Docker tells the file of one driver only."""
        is_told = log_driver(self._stored)[0] == "json-file"
        return str(log_file(self._stored, self._directory)) if is_told else ""

    def _shm_path(self) -> str:
        """Shared memory that is no more than the container's own needs no place on the host."""
        mode = self._stored.host_config.get("IpcMode") or "private"
        if mode == "host":
            return "/dev/shm"  # noqa: S108  the host's shared memory is asked for
        owner = shared_container(mode)
        if owner is not None:
            return str(self._core.containers.path(owner) / "mounts" / "shm")
        return str(self._directory / "mounts" / "shm") if mode == "shareable" else ""

    def _joined(self, connection: Connection) -> dict[str, str]:
        """Paths of namespaces made elsewhere. Raises Conflict for a container that does not run."""
        joined = {"network": str(self._bundle / NAMESPACE)} if connection.descriptors else {}
        for kind, field in (("network", "NetworkMode"), ("ipc", "IpcMode"), ("pid", "PidMode")):
            owner = shared_container(self._stored.host_config.get(field))
            if owner is not None:
                if kind == "ipc":
                    self._check_shareable(owner)
                joined[kind] = f"/proc/{self._pid_of(owner)}/ns/{'net' if kind == 'network' else kind}"
        return joined

    def _check_shareable(self, id: str) -> None:
        other = self._core.containers.get(id)
        if other is None or not other.state.get("Running"):
            raise Conflict(f"can't join IPC of container {id}: container {id} is not running", hint=_START_IT)
        if other.host_config.get("IpcMode") not in ("shareable", "host"):
            raise Conflict(
                f"can't join IPC of container {id}: non-shareable IPC (hint: use IpcMode:shareable for the "
                "donor container)"
            )

    def _pid_of(self, id: str) -> int:
        other = self._core.containers.get(id)
        # Without a supervisor the number may be any process's by now.
        runs = other is not None and self._core.locks.is_held(supervisor_lock(id))
        if other is None or not runs or not other.state.get("Running") or not other.state.get("Pid"):
            raise Conflict(f"container {id} is not running", hint=_START_IT)
        return int(other.state["Pid"])

    # --- launching --------------------------------------------------------------------------

    def _launch(
        self,
        lease: Lease,
        root: int,
        user: User,
        connection: Connection,
        attach: AttachRequest | None,
        stack: ExitStack,
    ) -> Attached | None:
        descriptors = [lease.fileno(), root, *self._mounts.descriptors]
        ours = None
        if attach is not None:
            ours, theirs = stream_pair()
            stack.callback(theirs.close)
            descriptors.append(theirs.fileno())
        try:
            instructions = self._instructions(user, attach) | {"network": connection.ending}
            everything = [*descriptors, *connection.descriptors]
            ready = connection.finish if connection.descriptors else None
            self._supervisor.launch(instructions, everything, ready)
        except BaseException:
            if ours is not None:
                ours.close()
            raise
        return None if ours is None else Attached(ours)

    def _instructions(self, user: User, attach: AttachRequest | None) -> dict[str, Any]:
        core, stored, config = self._core, self._stored, self._stored.config
        mode = stored.host_config.get("IpcMode")
        runtime = container_runtime(core, stored.host_config)
        shared_memory = {"path": self._shm_path(), "bytes": stored.host_config["ShmSize"]}
        return {
            "id": stored.id,
            "directory": str(self._bundle),
            "state_file": str(self._directory / "config.v2.json"),
            "host_config_file": str(self._directory / "hostconfig.json"),
            "lock_file": str(core.containers.lock_path(stored.id)),
            "claim_file": str(core.layout.root / "volumes" / "metadata.db"),
            "journal": str(core.layout.events / "journal.jsonl"),
            "event": event_attributes(stored),
            "runtime": runtime.command,
            "runtime_state": runtime.plain_state(stored.id),
            "environment": runtime_environment(),
            "rootfs": str(self._rootfs),
            "private_mounts": self._private_mounts(),
            **self._mounts.instructions(),
            "shared_memory": shared_memory if mode == "shareable" else None,
            "memory_events": self._memory_events(),
            "log": log_settings(stored, self._directory),
            "health": health_checks(stored, user, self._bundle, core.config.compat),
            "tty": bool(config.get("Tty")),
            "open_stdin": bool(config.get("OpenStdin")),
            "stdin_once": bool(config.get("StdinOnce")),
            "shared_pids": stored.host_config.get("PidMode") not in ("", "private", None),
            "auto_remove": stored.auto_remove,
            "client_removes": attach is not None and attach.removes,
            "cleanup": cleanup_command(core, stored.id) if stored.auto_remove else [],
            "attach": None
            if attach is None
            else {"stdin": attach.stdin, "stdout": attach.stdout, "stderr": attach.stderr},
        }

    def _private_mounts(self) -> bool:
        """Shared propagation reaches the host only from the host's own namespace."""
        points = (self._stored.document.get("MountPoints") or {}).values()
        return all(point.get("Propagation") not in ("shared", "rshared") for point in points)

    def _memory_events(self) -> str:
        """Where the kernel counts what it killed for want of memory."""
        if self._host.cgroups == "v1":
            return f"/sys/fs/cgroup/memory{self._group}/memory.oom_control"
        return f"/sys/fs/cgroup{self._group}/memory.events"


def _check_device_requests(host_config: Mapping[str, Any]) -> None:
    """Docker hands these to a vendor's runtime hook, of which none is known here."""
    for request in host_config.get("DeviceRequests") or ():
        wanted = " ".join(f"[{' '.join(some)}]" for some in request.get("Capabilities") or ())
        raise NoDeviceDriver(request.get("Driver") or "", wanted)


_CLEANUP = (
    "import sys; sys.path[:] = {path!r}; from onggi.engine.containers.cleanup import main; main(sys.argv[1])"
)


def cleanup_command(core: Core, id: str) -> list[str]:
    """What a supervisor executes at the end of a container that is to be removed."""
    config = core.config
    settings = {
        "data_root": str(config.data_root),
        "exec_root": str(config.exec_root),
        "storage_driver": core.driver.name,
        "compat": config.compat,
    }
    package = str(Path(__file__).resolve().parents[3])
    path = [package, *(entry for entry in sys.path if os.path.isabs(entry) and entry != package)]
    argument = json.dumps({"settings": settings, "id": id})
    return [sys.executable, "-I", "-S", "-c", _CLEANUP.format(path=path), argument]

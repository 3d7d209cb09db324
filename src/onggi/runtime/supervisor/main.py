"""Where a supervisor begins: take the instructions, leave the caller, watch until the end.

The first message on the given socket (``SOCK_SEQPACKET``) is the instructions, a JSON object,
with descriptors: the lease ``supervisor-<id>``, the detached mount of the root, those of ``mounts``,
the leases of ``volumes``, the connection of whoever is attached from the start, the network
namespace and what holds its ports. The one message back is ``{"started": true}`` or
``{"error": …, "by": "runtime" | "log"}``.

instructions = {
    version, gated, id, directory,       the running container's own directory, emptied at the end
    state_file, host_config_file, lock_file, claim_file, journal, event: { attributes },
    runtime: [ program, global flags … ], environment: { name: value },
    runtime_state,                           runc's, for door.py and clearing.py; empty for other runtimes
    rootfs, private_mounts, shared_memory: { path, bytes } | null, memory_events,
    mounts: [ where a detached mount goes … ], volumes: [ { lock, path } … ], volume_names,
    log: { type, … },                         log.py, remote_log.py
    health: { … } | null,                     health.py
    tty, open_stdin, stdin_once, shared_pids, auto_remove,
    cleanup: [ words ], client_removes,       what to execute at the end; not when the client does it
    attach: { stdin, stdout, stderr } | null,
    network: { file, lock, teardown: [ words ], environment,
               resolver: { command: [ words ], directory } | null } | null }

Where they are ``gated`` one word more follows (protocol.py): GO when the program may start, GIVE_UP, or the
end of who started it, when it may not; the answer to that is the end.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import signal
import socket
import sys

from onggi.runtime.supervisor import kernel
from onggi.runtime.supervisor.control import Control
from onggi.runtime.supervisor.loop import READ, Loop
from onggi.runtime.supervisor.network import HeldNetwork
from onggi.runtime.supervisor.protocol import GO, VERSION
from onggi.runtime.supervisor.streams import Client
from onggi.runtime.supervisor.supervision import Supervision

TYPE_CHECKING = False  # typing costs half a megabyte in every supervisor
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["MAX_INSTRUCTION_BYTES", "main"]

MAX_INSTRUCTION_BYTES = 128 * 1024
_MAX_DESCRIPTORS = 253  # the kernel takes no more with one message
# Less likely to be killed than what it watches, where that may be asked for.
_OOM_SCORE = "-998"
_CGROUPS = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
_CGROUP_NAME = "onggi"
# More than any kernel has (NR_CPUS); it takes of them what there are and the cpuset allows.
_MANY_PROCESSORS = 8192
# Seconds to wait for clients that do not take what is left for them; the container is gone by then.
_LINGER_S = 3600.0


def main(fd: int) -> None:
    """Serve the instructions that come on descriptor ``fd``; without any, end with the caller."""
    if os.fork():
        # The caller waits for this process only: whoever lives on has no parent that must.
        os._exit(0)
    _leave_caller()
    caller = socket.socket(fileno=fd)
    data, descriptors, _, _ = socket.recv_fds(caller, MAX_INSTRUCTION_BYTES, _MAX_DESCRIPTORS)
    if not data:
        return
    for each in descriptors:
        # They come inheritable, and what is started from here must not keep leases.
        os.set_inheritable(each, False)
    given = json.loads(data)
    if given["version"] != VERSION:
        _tell(caller, {"error": f"supervisor of version {VERSION}, instructions of {given['version']}"})
        return
    _keep_complaints(os.path.join(given["directory"], "supervisor.log"))
    gc.freeze()
    try:
        supervisor = Supervisor(caller, given, descriptors)
        supervisor.begin()
    except Exception as error:
        _tell(caller, {"error": f"{error}"})
        raise
    supervisor.run()


def _leave_caller() -> None:
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    _have_usual_signals()
    _write("/proc/self/oom_score_adj", _OOM_SCORE)
    _have_usual_priority()
    _leave_cgroup()
    kernel.become_subreaper()


def _have_usual_signals() -> None:
    """None is blocked, and none ignored but what Python ignores: all it starts inherits that."""
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    kernel.reset_reserved_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _have_usual_priority() -> None:
    """A container has the time and the processors that its flags say, not those of whoever started it."""
    asks: tuple[Callable[[], None], ...] = (
        lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)),
        lambda: os.setpriority(os.PRIO_PROCESS, 0, 0),
        lambda: os.sched_setaffinity(0, range(_MANY_PROCESSORS)),
    )
    for ask in asks:
        try:
            ask()
        except OSError:
            continue  # to ask for more than one has takes CAP_SYS_NICE


def _keep_complaints(path: str) -> None:
    errors = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.dup2(errors, 2)
    os.close(errors)


def _leave_cgroup() -> None:
    """A service or a login session that ends takes its cgroup along; the container must not go with it.

    Only where systemd counts processes (its v1 hierarchy, or the unified one) does that matter.
    """
    for hierarchy in _CGROUPS:
        if os.path.exists(f"{hierarchy}/cgroup.procs"):
            group = f"{hierarchy}/{_CGROUP_NAME}"
            try:
                os.makedirs(group, exist_ok=True)
            except OSError:
                continue
            _write(f"{group}/cgroup.procs", "0")


def _write(path: str, text: str) -> None:
    """Where that is allowed: these are courtesies of the kernel."""
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError:
        return


def _tell(caller: socket.socket, message: dict[str, Any]) -> None:
    try:
        caller.send(json.dumps(message).encode())
    except OSError:
        pass  # it was killed meanwhile; the container goes on
    caller.close()


class Supervisor:
    """Holds what must be held while the container runs, and lets go in order."""

    def __init__(self, caller: socket.socket, given: dict[str, Any], descriptors: list[int]) -> None:
        self._caller = caller
        self._given = given
        self._lease, self._root, *others = descriptors
        places, volumes = len(given["mounts"]), len(given["volumes"])
        self._mounts = dict(zip(given["mounts"], others[:places], strict=True))
        self._volume_leases = others[places : places + volumes]
        del others[: places + volumes]
        self._attached = others.pop(0) if given["attach"] is not None else -1
        self._network = HeldNetwork(given["network"], others, given["directory"]) if others else None
        self._host = kernel.mount_namespace()
        self._claim = _claim(given["claim_file"])
        self._loop = Loop()
        self._control: Control | None = None
        self._first: Client | None = None
        self._started = False

    def begin(self) -> None:
        """Mounts, sockets, and the start of the container."""
        self._mount()
        if self._network is not None:
            self._network.serve(self._loop)
        supervision = Supervision(self._loop, self._given, self._told, self._finished)
        self._state = supervision.state
        self._control = Control(self._loop, supervision)
        if self._attached >= 0:
            wanted = self._given["attach"]
            self._first = self._control.attach(socket.socket(fileno=self._attached), **wanted)
        if self._given["gated"]:
            self._loop.watch(self._caller.fileno(), READ, lambda events: self._hear(supervision))
        supervision.start()

    def _hear(self, supervision: Supervision) -> None:
        """Whether the program may come in."""
        self._loop.unwatch(self._caller.fileno())
        word = self._caller.recv(MAX_INSTRUCTION_BYTES)
        if word == GO:
            if self._network is not None:
                self._network.watch_resolver(self._loop)
            supervision.let_in()
            return
        if not word and self._network is not None:
            # What made it was killed with it, or is still at it: it is the next command's to take back.
            self._network.leave(self._loop)
            self._network = None
        supervision.give_up()

    def run(self) -> None:
        """Until the container has stopped for good and everybody has heard it."""
        self._loop.run()

    def _told(self, complaint: str, by_runtime: bool) -> None:
        self._loop.unwatch(self._caller.fileno())
        self._started = not complaint
        failed = {"error": complaint, "by": "runtime" if by_runtime else "log"}
        _tell(self._caller, failed if complaint else {"started": True})

    # --- mounts -----------------------------------------------------------------------------

    def _mount(self) -> None:
        given = self._given
        if given["private_mounts"]:
            kernel.enter_mount_namespace()
        os.makedirs(given["rootfs"], 0o700, exist_ok=True)
        kernel.attach_mount(self._root, given["rootfs"])
        os.close(self._root)
        for target, mounted in self._mounts.items():
            kernel.make_place(mounted, target)
            kernel.attach_mount(mounted, target)
            os.close(mounted)
        memory = given["shared_memory"]
        if memory is not None:
            os.makedirs(memory["path"], 0o700, exist_ok=True)
            options = f"mode=1777,size={memory['bytes']}"
            kernel.mount("shm", memory["path"], "tmpfs", _NOSUID | _NODEV | _NOEXEC, options)

    def _unmount(self) -> None:
        """In a namespace of our own that is for who still looks in; else it is for the host."""
        given = self._given
        memory = given["shared_memory"]
        others = [memory["path"]] if memory is not None else []
        for path in (given["rootfs"], *self._mounts, *others):
            try:
                kernel.unmount(path)
            except OSError:
                continue
        parents = {os.path.dirname(path) for path in self._mounts}
        kernel.remove_places([given["rootfs"], *self._mounts, *parents])

    def _let_go_of_volumes(self) -> None:
        """Unmount, for the host, those that nobody else uses: who lets go last gets the lock alone."""
        for lease in self._volume_leases:
            os.close(lease)
        if self._volume_leases and self._given["private_mounts"]:
            kernel.enter_namespace(self._host)
        for volume in self._given["volumes"]:
            lock = kernel.lock_alone(volume["lock"])
            if lock < 0:
                continue
            try:
                kernel.unmount(volume["path"])
            except OSError:
                pass
            os.close(lock)

    # --- the end ----------------------------------------------------------------------------

    def _finished(self) -> None:
        control = self._control
        if control is not None:
            control.close()
        self._loop.unwatch(self._caller.fileno())
        self._unmount()
        self._let_go_of_volumes()
        for name in self._given["volume_names"] if self._started else ():
            attributes = {"container": self._given["id"], "driver": "local"}
            self._state.emit_of("volume", name, "unmount", attributes)
        if self._network is not None:
            self._network.end(self._loop, self._state, self._let_go)
        else:
            self._let_go()

    def _let_go(self) -> None:
        _empty(self._given["directory"])
        os.close(self._claim)
        os.close(self._lease)
        self._caller.close()
        if self._started and self._given["cleanup"] and not self._client_removes():
            os.posix_spawn(self._given["cleanup"][0], self._given["cleanup"], self._given["environment"])
        self._loop.after(_LINGER_S, self._loop.stop)
        self._stop_when_idle()

    def _client_removes(self) -> bool:
        """True when who was attached from the start heard of the end, or still can, and said it would."""
        first = self._first
        return bool(
            self._given["client_removes"] and first is not None and (first.served or not first.closed)
        )

    def _stop_when_idle(self) -> None:
        if self._control is None or not self._control.busy:
            self._loop.stop()
        else:
            self._loop.after(0.05, self._stop_when_idle)


_NOSUID, _NODEV, _NOEXEC = 2, 4, 8


def _claim(path: str) -> int:
    """The data root's lock, shared: no dockerd becomes its master while the container runs."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return fd


def _empty(directory: str) -> None:
    """Delete the running container's directory; it holds files and sockets only."""
    try:
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)
    except OSError:
        return


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""Stop a program and everything it starts at the N-th of some system calls, before the call happens.

strace injects signals too, but counts per thread: a program whose main thread makes three
``mkdir`` before a second thread makes its first is never killed at that first one. Here one
count spans all threads and processes, so counting up from 1 until a run ends by itself
visits every call there is.

A seccomp filter lets every other call run at full speed; the counted ones stop for ptrace
(``SECCOMP_RET_TRACE``, seccomp(2), ptrace(2)). The caller decides what happens there: kill
the process that makes the call, or cut the power of its file system.

Run as a program, ``python -m tests.crash.tracer``, since the tracer waits for all children
of its process. Without a tracer the counted calls fail, so it stays as long as one of them lives:
:func:`tracing` gives what happened once all is quiet, and lets the supervisor of a container that
runs go on until the block ends.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.crash.power import PowerCut

__all__ = ["CALLS", "PROCESS_CALLS", "Outcome", "trace", "tracing"]

# Calls by architecture; None where the architecture has only the *at form.
_NUMBERS: dict[str, dict[str, int | None]] = {
    "x86_64": {
        "rename": 82, "renameat": 264, "renameat2": 316, "mkdir": 83, "mkdirat": 258, "symlink": 88,
        "symlinkat": 266, "unlink": 87, "unlinkat": 263, "rmdir": 84, "fsync": 74, "fdatasync": 75,
        "syncfs": 306, "openat": 257, "mount": 165, "move_mount": 429, "umount2": 166,
    },
    "aarch64": {
        "rename": None, "renameat": 38, "renameat2": 276, "mkdir": None, "mkdirat": 34, "symlink": None,
        "symlinkat": 36, "unlink": None, "unlinkat": 35, "rmdir": None, "fsync": 82, "fdatasync": 83,
        "syncfs": 267, "openat": 56, "mount": 40, "move_mount": 429, "umount2": 39,
    },
}  # fmt: skip
# Which argument is the name that changes, for the account of a kill.
_NAMES = {
    "rename": 1, "renameat": 3, "renameat2": 3, "symlink": 1, "symlinkat": 2, "mount": 1, "move_mount": 3,
}  # fmt: skip
_DESCRIPTORS = {"fsync", "fdatasync", "syncfs"}

CALLS = {name: number for name, number in _NUMBERS[platform.machine()].items() if number is not None}
"""Every call that changes names, mounts or flushes; of ``openat`` only those with ``O_CREAT``."""

PROCESS_CALLS = {
    "x86_64": {"execve": 59, "kill": 62, "unshare": 272, "setns": 308, "sendto": 44, "sendmsg": 46, "recvfrom": 45},
    "aarch64": {"execve": 221, "kill": 129, "unshare": 97, "setns": 268, "sendto": 206, "sendmsg": 211, "recvfrom": 207},
}[platform.machine()]  # fmt: skip
"""What makes, moves and signals processes, and what they ask of each other: counted with containers."""

# Seconds without a counted call after which a program that has ended has nothing more to come.
_QUIET_S = 0.3

# seccomp.h, bpf_common.h, ptrace.h, prctl.h
_RET_ALLOW, _RET_TRACE = 0x7FFF0000, 0x7FF00000
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER_OFFSET, _THIRD_ARGUMENT_OFFSET = 0, 32
_SEIZE, _CONT, _LISTEN, _CALL_INFO = 0x4206, 7, 0x4208, 0x420E
_OPTIONS = 0x2 | 0x4 | 0x8 | 0x80 | 0x100000  # fork, vfork, clone, seccomp, exitkill
_EVENT_SECCOMP, _EVENT_STOP = 7, 128
_SET_SECCOMP, _FILTER, _NO_NEW_PRIVILEGES = 22, 2, 38
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: ``call`` is where it was stopped (empty: it ended by itself, with ``status``)."""

    call: str
    status: int
    counted: int
    output: str = ""


def trace(
    command: Sequence[str], stop_at: int, *, cut: PowerCut | None = None, timeout_s: float = 60.0
) -> Outcome:
    """Run ``command`` and kill whoever makes the ``stop_at``-th call; waits for all it started.

    With ``cut`` a file system loses its power at that moment, and all of them are killed.
    """
    request = json.dumps({"command": list(command), "stop_at": stop_at, "cut": cut and asdict(cut)})
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.tracer"],
        input=request,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Outcome(**json.loads(done.stdout), output=done.stderr)


@contextmanager
def tracing(
    command: Sequence[str], stop_at: int, output: Path, before: Sequence[Sequence[str]] = ()
) -> Iterator[Outcome]:
    """The same with the calls of processes, for programs that leave others behind.

    Commands ``before`` come first, one after the other: what they do counts only while ``command``
    is at work, so that a supervisor started by one of them is killed in the middle of its answer.

    The block begins when ``command`` has ended and all is quiet; within it nobody is stopped. What
    was written goes to ``output``. Whoever is left at the end of the block is killed.
    """
    request = {
        "before": [list(words) for words in before],
        "command": list(command),
        "stop_at": stop_at,
        "cut": None,
        "processes": True,
    }
    with (
        open(output, "w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "tests.crash.tracer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as tracer,
    ):
        assert tracer.stdin is not None and tracer.stdout is not None
        try:
            tracer.stdin.write(json.dumps(request))
            tracer.stdin.close()
            line = tracer.stdout.readline()
            assert line, output.read_text()
            yield Outcome(**json.loads(line), output=output.read_text())
        finally:
            tracer.kill()  # the option EXITKILL takes all tracees along


class _Tracer:
    """Waits for every thread of a program; counts its calls and stops it at one.

    ``patient``: it is through when all have ended, else when the first has and all is quiet.
    """

    def __init__(self, stop_at: int, cut: PowerCut | None, calls: dict[str, int], *, patient: bool) -> None:
        self._stop_at = stop_at
        self._cut = cut
        self._counted = 0
        self._counting = False
        self._call = ""
        self._status: int | None = None
        self._leader = 0
        self._names = {number: name for name, number in calls.items()}
        self._tracees: set[int] = set()
        self._patient = patient

    def run(self, command: Sequence[str], before: Sequence[Sequence[str]] = ()) -> None:
        """Tell of it, and stay for the rest."""
        for words in before:
            self._play(words, patient=False)
            if self._status:
                break
        else:
            self._counting = True
            self._play(command, patient=self._patient)
        self._tell()
        self._counting = False
        self._follow(patient=True)

    def _play(self, command: Sequence[str], *, patient: bool) -> None:
        self._status = None
        self._leader = _start(command, self._names)
        self._tracees.add(self._leader)
        self._follow(patient=patient)

    def _follow(self, *, patient: bool) -> None:
        """Until all have ended, or the leader has and all is quiet."""
        while True:
            try:
                tid, state = self._wait(patient=patient)
            except ChildProcessError:
                return
            if not tid:
                return
            if os.WIFSTOPPED(state):
                self._tracees.add(tid)
                self._stopped(tid, state)
            else:
                self._tracees.discard(tid)
                if tid == self._leader:
                    self._status = os.waitstatus_to_exitcode(state)

    def _wait(self, *, patient: bool) -> tuple[int, int]:
        """Who changed and how; process 0 when it is quiet."""
        quiet_at = time.monotonic() + _QUIET_S
        while not (patient or self._status is None):
            tid, state = os.waitpid(-1, _WALL | os.WNOHANG)
            if tid or time.monotonic() > quiet_at:
                return tid, state
            time.sleep(0.005)
        return os.waitpid(-1, _WALL)

    def _tell(self) -> None:
        report = {"call": self._call, "status": self._status or 0, "counted": self._counted}
        print(json.dumps(report), flush=True)

    def _stopped(self, tid: int, state: int) -> None:
        event, number = state >> 16, os.WSTOPSIG(state)
        if event == _EVENT_SECCOMP:
            self._counted += self._counting
            if self._counting and self._counted == self._stop_at:
                self._end(tid)
                return
            _ptrace(_CONT, tid)
        elif event == _EVENT_STOP and number in (signal.SIGSTOP, signal.SIGTSTP):
            _ptrace(_LISTEN, tid)
        else:
            _ptrace(_CONT, tid, 0 if event else number)

    def _end(self, tid: int) -> None:
        self._call = _describe(tid, self._names)
        if self._cut is None:
            process = _process_of(tid)
            _kill(_netavark_above(process))
            _kill(process)
            return
        self._cut.happen()
        for process in {_process_of(tracee) for tracee in self._tracees} - {0}:
            _kill(process)


def _kill(process: int) -> None:
    """Nothing for process 0."""
    try:
        if process:
            os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _netavark_above(process: int) -> int:
    """The netavark that has started a process, or 0: its tools go with it.

    Left alone it takes an iptables that is killed over a question for the answer no.
    """
    parent = _status(process, "PPid")
    try:
        return parent if Path(f"/proc/{parent}/comm").read_text() == "netavark\n" else 0
    except OSError:
        return 0


def _process_of(tid: int) -> int:
    """The process a thread belongs to; 0 when it is gone."""
    return _status(tid, "Tgid")


def _status(task: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{task}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _start(command: Sequence[str], calls: dict[int, str]) -> int:
    """Fork a seized child that installs the filter and becomes ``command``."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        _become(command, calls)
    os.close(reader)
    _ptrace(_SEIZE, child, _OPTIONS)
    os.close(writer)
    return child


def _become(command: Sequence[str], calls: dict[int, str]) -> None:
    """Never returns."""
    try:
        os.dup2(2, 1)
        _install_filter(calls)
        os.execvp(command[0], list(command))
    finally:
        os._exit(127)


def _install_filter(calls: dict[int, str]) -> None:
    program = _program(calls)
    filters = ctypes.create_string_buffer(program)
    length = len(program) // 8
    # struct sock_fprog: unsigned short len, struct sock_filter *filter.
    descriptor = ctypes.create_string_buffer(struct.pack("@HP", length, ctypes.addressof(filters)))
    for arguments in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, descriptor, 0, 0)):
        if _libc.prctl(*arguments) < 0:
            raise OSError(ctypes.get_errno(), "prctl")


def _program(calls: dict[int, str]) -> bytes:
    """Trace the counted calls, allow the rest."""
    plain = [number for number, name in calls.items() if name != "openat"]
    steps = [(_LOAD, 0, 0, _NUMBER_OFFSET)]
    for position, number in enumerate(plain):
        # To the last instruction but none: behind the rest of these, and five more.
        steps.append((_JUMP_EQUAL, len(plain) - 1 - position + 4, 0, number))
    steps += [
        (_JUMP_EQUAL, 0, 2, CALLS["openat"]),
        (_LOAD, 0, 0, _THIRD_ARGUMENT_OFFSET),
        (_JUMP_SET, 1, 0, os.O_CREAT),
        (_RETURN, 0, 0, _RET_ALLOW),
        (_RETURN, 0, 0, _RET_TRACE),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _describe(tid: int, names: dict[int, str]) -> str:
    """``mkdirat blobs`` and the like, from the call's arguments."""
    info = ctypes.create_string_buffer(88)
    _ptrace(_CALL_INFO, tid, ctypes.addressof(info), len(info))
    number, *arguments = struct.unpack_from("=7Q", info.raw, 24)
    name = names[number]
    if name == "execve":
        return f"execve {_text(tid, arguments[0])}"
    if name in PROCESS_CALLS:
        return f"{name} of {Path(f'/proc/{tid}/comm').read_text().strip()}"
    if name in _DESCRIPTORS:
        return f"{name} {os.readlink(f'/proc/{tid}/fd/{arguments[0]}')}"
    position = _NAMES.get(name, 1 if name.endswith("at") else 0)
    return f"{name} {_text(tid, arguments[position])}"


def _text(tid: int, address: int) -> str:
    with open(f"/proc/{tid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(256).split(b"\0")[0].decode("utf-8", "replace")


def _ptrace(request: int, tid: int, data: int = 0, address: int = 0) -> int:
    result = _libc.ptrace(request, tid, address, data)
    if result < 0:
        number = ctypes.get_errno()
        # Killed meanwhile by somebody else: waitpid tells.
        if number != errno.ESRCH:
            raise OSError(number, f"ptrace {request:#x}: {os.strerror(number)}")
    return int(result)


def main() -> None:
    """Read a request from standard input, write its outcome."""
    request = json.load(sys.stdin)
    cut = PowerCut(**request["cut"]) if request["cut"] else None
    processes = request.get("processes", False)
    calls = {**CALLS, **PROCESS_CALLS} if processes else CALLS
    _Tracer(request["stop_at"], cut, calls, patient=not processes).run(
        request["command"], request.get("before", ())
    )


if __name__ == "__main__":
    main()

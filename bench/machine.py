"""The machine under the benchmarks: file systems, processes, clocks and memory."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "Daemon",
    "MemoryWatch",
    "enter_private_mounts",
    "enter_private_network",
    "find",
    "file_system",
    "free_port",
    "run",
    "timed",
]

# Bytes of each loop file; sparse, so only what is written costs.
_DISK_BYTES = 32 << 30
# Seconds between two looks at the memory of a process tree.
_SAMPLE_S = 0.05
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 0x4000, 0x40000
_CLONE_NEWNET = 0x40000000


def find(program: str) -> str | None:
    """The program's path, system directories included."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def run(command: Sequence[str | Path], **environment: str) -> str:
    """Run to the end and give its output; a failure stops the benchmark with its words."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def timed(action: Callable[[], object]) -> float:
    """Seconds of wall time."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def enter_private_mounts() -> None:
    """What is mounted from here on is seen by nobody else and ends with this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None):
        raise SystemExit(f"unshare: {os.strerror(ctypes.get_errno())}; benchmarks need root")


def enter_private_network() -> None:
    """Bridges and rules that are made from here on end with this process and meet nobody else's."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise SystemExit(f"unshare: {os.strerror(ctypes.get_errno())}; benchmarks need root")
    run(["ip", "link", "set", "lo", "up"])


@contextmanager
def file_system(directory: Path) -> Iterator[Path]:
    """A fresh ext4 on a loop device; its tables are written before, not while something is measured."""
    image, point = directory / "disk.img", directory / "disk"
    with open(image, "wb") as file:
        file.truncate(_DISK_BYTES)
    lazy = "lazy_itable_init=0,lazy_journal_init=0"
    run([find("mkfs.ext4") or "mkfs.ext4", "-q", "-m", "0", "-E", lazy, image])
    point.mkdir(exist_ok=True)
    run(["mount", "-o", "loop", image, point])
    try:
        os.sync()
        yield point
    finally:
        run(["umount", "--lazy", "--recursive", point])
        image.unlink()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool:
    """True when somebody accepts connections on 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Daemon:
    """A program that runs until it is stopped, in a session of its own."""

    def __init__(self, command: Sequence[str | Path], log: Path, ready: Callable[[], bool]) -> None:
        with open(log, "ab") as out:
            self._popen = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not ready():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SystemExit(f"{command[0]} did not start: {log.read_text()[-1000:]}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def stop(self) -> None:
        """Ask to end, then insist."""
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(30)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


class MemoryWatch:
    """Peak of the sum of PSS over process trees, sampled; ``peak_bytes`` after the block.

    PSS counts a page shared by n processes as 1/n in each, so that a forked helper is not
    counted twice. Looking costs the process time: never watch a run that is timed.
    """

    def __init__(self, roots: Callable[[], list[int]]) -> None:
        self._roots = roots
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            children = _children()
            pids = set(self._roots())
            pending = list(pids)
            while pending:
                for child in children.get(pending.pop(), []):
                    if child not in pids:
                        pids.add(child)
                        pending.append(child)
            self.peak_bytes = max(self.peak_bytes, sum(_pss_bytes(pid) for pid in pids))


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                status = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            parent = int(status.rpartition(")")[2].split()[1])
            found.setdefault(parent, []).append(int(name))
    return found


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)

"""Whether aardvark-dns is there, and bringing it back; the real one, on a port of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.network.netavark import RESOLVER, Netavark
from onggi.runtime.supervisor.loop import Loop
from onggi.runtime.supervisor.resolver import (
    ResolverWatch,
    forget_dead,
    has_entries,
    resolver_pid,
    revive,
)
from tests.peers.processes import wait_until

_PORT = "5399"
_ENVIRONMENT = {"PATH": os.environ["PATH"]}


def command(directory: Path) -> list[str]:
    program = Netavark.find(RESOLVER)
    assert program, "aardvark-dns is not installed"
    return [program, "--config", str(directory), "-p", _PORT, "run"]


@pytest.fixture
def entries(tmp_path: Path) -> Iterator[Path]:
    """A directory with one entry, on an address of this host."""
    (tmp_path / "net").write_text("127.0.53.1\nabc 10.1.1.2  pot\n")
    yield tmp_path
    pid = resolver_pid(str(tmp_path))
    if pid:
        os.kill(pid, signal.SIGKILL)


def started(directory: Path) -> int:
    revive(command(directory), _ENVIRONMENT, str(directory))
    return resolver_pid(str(directory))


def test_it_is_started_once(entries: Path) -> None:
    pid = started(entries)
    assert pid
    assert forget_dead(str(entries))
    assert started(entries) == pid


def test_a_killed_one_is_none_even_before_it_is_reaped(entries: Path) -> None:
    pid = started(entries)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not resolver_pid(str(entries)), "its end")
    assert (entries / "aardvark.pid").exists()
    assert started(entries) not in (0, pid)


def test_a_stranger_with_its_number_is_left_alone(entries: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    (entries / "aardvark.pid").write_text(str(stranger.pid))
    assert resolver_pid(str(entries)) == 0
    assert started(entries) not in (0, stranger.pid)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_without_entries_none_is_started(tmp_path: Path) -> None:
    (tmp_path / "aardvark.pid").write_text("not a number")
    assert not has_entries(str(tmp_path))
    assert started(tmp_path) == 0
    assert not (tmp_path / "aardvark.pid").exists()
    assert not has_entries(str(tmp_path / "nowhere"))


def test_one_that_cannot_be_run_is_no_error(entries: Path) -> None:
    revive(["/nonexistent/aardvark-dns"], _ENVIRONMENT, str(entries))
    assert resolver_pid(str(entries)) == 0
    revive(["/bin/false"], _ENVIRONMENT, str(entries))
    assert resolver_pid(str(entries)) == 0


def test_who_watches_brings_it_back(entries: Path) -> None:
    """Twice; the lock is asked for until it is free, and let go of."""
    loop, locks = Loop(), iter([-1, -1])
    held: list[int] = []

    def lock() -> int:
        held.append(next(locks, 0) or os.open("/dev/null", os.O_RDONLY))
        return held[-1]

    first = started(entries)
    given = {"command": command(entries), "environment": _ENVIRONMENT, "directory": str(entries)}
    watch = ResolverWatch(loop, given, lock)
    watch.begin()
    killed = [first]
    os.kill(first, signal.SIGKILL)

    def look() -> None:
        pid = resolver_pid(str(entries))
        if pid and pid not in killed:
            if len(killed) == 2:
                loop.stop()
                return
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
        loop.after(0.02, look)

    look()
    loop.after(20, loop.stop)
    loop.run()
    assert resolver_pid(str(entries)) not in (0, *killed)
    assert len(killed) == 2
    assert held[:2] == [-1, -1]
    watch.stop()
    watch.stop()

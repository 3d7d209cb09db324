"""Ctrl-C and SIGTERM, sent as a terminal and a service manager send them: to the whole process group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import BIG_BYTES
from tests.cli.test_pull import received
from tests.peers.daemon import onggi_environment
from tests.peers.fixtures import Onggi
from tests.peers.processes import wait_until

STOPPED = "Error: pull big: stopped (what was received is kept; the same command goes on from there)\n"


def slow_pull(onggi: Onggi) -> subprocess.Popen[bytes]:
    """A pull in a process group of its own, held back so that its worker follows the download."""
    words = ["--data-root", str(onggi.data_root), "pull", "--limit-rate", "300kB", "big"]
    return subprocess.Popen(
        [sys.executable, "-m", "onggi", *words],
        env=onggi_environment(ONGGI_CONFIG=str(onggi._config)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def members(group: int) -> list[str]:
    """The processes of a group that live: their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state not in "ZX":
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (OSError, ValueError):
            continue
    return found


def staged(onggi: Onggi) -> list[Path]:
    """Layers on their way into the store."""
    return [*onggi.data_root.glob("onggi/staging/*"), *onggi.data_root.glob("image/overlay2/layerdb/tmp/*")]


def begun(onggi: Onggi, group: int) -> bool:
    """Bytes are here, and the worker has begun: engine, helper and worker."""
    return received(onggi) > 0 and len(members(group)) == 3 and bool(staged(onggi))


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_group_ends_a_pull_in_order(empty: Onggi, number: int, status: int) -> None:
    process = slow_pull(empty)
    wait_until(lambda: begun(empty, process.pid), "a pull")
    sent = time.monotonic()
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=20)
    assert time.monotonic() - sent < 5  # a fraction of a second on a machine that does nothing else
    assert (process.returncode, err.decode()) == (status, STOPPED)
    assert members(process.pid) == []
    assert staged(empty) == []
    assert 0 < received(empty) < BIG_BYTES


def test_a_killed_pull_leaves_no_process_and_the_next_command_clears_up(empty: Onggi) -> None:
    process = slow_pull(empty)
    wait_until(lambda: begun(empty, process.pid), "a pull")
    process.kill()
    process.communicate(timeout=20)
    wait_until(lambda: members(process.pid) == [], "the end of the helper and its worker")
    assert staged(empty)
    empty.run("pull", "-q", "web:v1")
    assert staged(empty) == []


def test_a_second_signal_does_not_wait(empty: Onggi) -> None:
    process = slow_pull(empty)
    wait_until(lambda: begun(empty, process.pid), "a pull")
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Traceback" not in err
    wait_until(lambda: members(process.pid) == [], "the end of the helper and its worker")

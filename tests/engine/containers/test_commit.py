"""commit: nothing in the container runs meanwhile, and it goes on afterwards, whatever happens."""

from __future__ import annotations

import subprocess
import sys

import pytest

import onggi
from onggi.errors import Conflict
from tests.peers.processes import wait_until

_HOLDS = """
import sys
from pathlib import Path
from onggi.runtime.client import SupervisorClient

with SupervisorClient(Path(sys.argv[1]), sys.argv[2]).frozen():
    print("frozen", flush=True)
    sys.stdin.read()
"""


def test_who_commits_is_killed_and_the_container_goes_on(engine: onggi.Engine) -> None:
    container = engine.containers.run("box", ["sleep", "1000"], network="none")
    words = [sys.executable, "-c", _HOLDS, str(engine.config.exec_root), container.id]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"frozen\n"
        assert container.status == "paused"
        holder.kill()
    wait_until(lambda: container.status == "running", "the container")
    assert container.exec(["true"]).wait() == 0


def test_what_is_paused_already_stays_so(engine: onggi.Engine) -> None:
    container = engine.containers.run("box", ["sleep", "1000"], network="none")
    container.pause()
    with pytest.raises(Conflict, match="is already paused"), container.supervisor.frozen():
        pass
    container.commit("kept:1")
    assert container.status == "paused"
    engine.images.remove("kept:1")
    container.unpause()

"""Containers at a terminal: the same keys, sizes and signals for docker and Onggi, and the same is seen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import Signals

import pytest

from tests.compat.conversation import differences
from tests.compat.pair import Pair, Said, agrees, comparable
from tests.compat.terminal_rows import RAW, TALKS, Deed, Talk
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi
from tests.peers.processes import require
from tests.peers.terminal import Terminal

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("pair")]

# Docker's complaint about a container that ended before its size was told.
_TOO_LATE = "failed to resize tty, using default size\r\n"


def _command(side: Onggi | Daemon, words: list[str]) -> list[str]:
    """Docker's command line of the daemon's own version: later ones take signals otherwise."""
    program, *rest = side.command(*words)
    if isinstance(side, Daemon):
        program = str(Path(require("dockerd")).parents[1] / "bin" / "docker")
    return [program, *rest]


def _do(terminal: Terminal, awaited: str, deed: Deed) -> None:
    if awaited == RAW:
        terminal.wait_until_raw()
    else:
        terminal.wait_for(awaited)
    if isinstance(deed, bytes):
        terminal.type(deed)
    elif isinstance(deed, Signals):
        terminal.send_signal(deed)
    else:
        terminal.resize(*deed)


def _seen(side: Onggi | Daemon, talk: Talk, words: list[str], directory: Path) -> Said:
    """Status and what was on the terminal; ``err``: how it was left."""
    environment = side.environment
    if talk.config:
        config = directory / type(side).__name__
        config.mkdir(exist_ok=True)
        (config / "config.json").write_text(talk.config)
        environment["DOCKER_CONFIG"] = str(config)
    with Terminal(_command(side, words), environment, stdin=talk.stdin) as terminal:
        try:
            for awaited, deed in talk.steps:
                _do(terminal, awaited, deed)
            status = terminal.end()
        except AssertionError as error:
            return Said(-1, str(error), "")
        left = "" if terminal.restored else "raw"
        seen = terminal.seen.decode().replace(_TOO_LATE, "")
        return Said(status, comparable(seen, side.data_root), left)


def _same(talk: Talk, ours: Said, theirs: Said) -> bool:
    if theirs.status < 0 or theirs.err:
        return False
    if talk.refused:
        return ours.status == theirs.status != 0 and agrees(ours.out, theirs.out)
    return ours == theirs


@pytest.mark.parametrize("table", TALKS)
def test_talks(pair: Pair, tmp_path: Path, table: str) -> None:
    pair.clear()
    different = []
    with ThreadPoolExecutor(2) as threads:
        for talk in TALKS[table]:
            different += differences(pair, "\n".join(talk.before), {})
            words = pair.words(talk.line, {})
            sides = [threads.submit(_seen, side, talk, words, tmp_path) for side in (pair.ours, pair.theirs)]
            ours, theirs = (side.result() for side in sides)
            if not _same(talk, ours, theirs):
                different.append(f"{talk.line}\n  {ours}\n  {theirs}")
            different += differences(pair, "\n".join(talk.after), {})
    assert not different, "\n".join(["", *different])

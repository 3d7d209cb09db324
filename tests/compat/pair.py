"""The same words to dockerd and to Onggi: what each said, made comparable."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from onggi.record import record
from tests.compat.explained import without_actors, without_hint
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi

__all__ = ["Pair", "Said", "agrees", "comparable", "complaint", "filled", "host_files"]

_NORMAL: tuple[tuple[str, str], ...] = (
    (r"\b[0-9a-f]{64}\b", "ID"),
    (r"\b[0-9a-f]{12}\b", "SHORT"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "TIME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} \w+", "TIME"),
    (r"Less than a second|About a minute|\d+ (?:seconds?|minutes?)", "AGE"),
)


@record
class Said:
    """Exit status, standard output and standard error of one command."""

    status: int
    out: str
    err: str


def comparable(text: str, *roots: Path) -> str:
    """``text`` without ids, times and places; tables keep no more than one blank in a row."""
    for root in roots:
        text = text.replace(str(root), "ROOT")
    for pattern, word in _NORMAL:
        text = re.sub(pattern, word, text)
    return re.sub(r" {2,}", "  ", text)


def complaint(text: str) -> list[str]:
    """The messages on stderr: without who says it, by way of whom, and where to read on."""
    return [_message(line) for line in without_actors(text).strip().splitlines() if line]


def _message(line: str) -> str:
    line = line.removesuffix(": unknown").replace("onggi", "docker")
    line = line.replace("No such container: ", "no such container ")
    return re.sub(r"Container \S+ is paused", "Container NAME is paused", line).rstrip(".").casefold()


def agrees(ours: str, theirs: str) -> bool:
    """Each of our messages is Docker's, or the end of it (Docker also says what it was doing); a hint may follow."""
    mine, others = complaint(ours), complaint(theirs)
    return len(mine) == len(others) and all(map(_agrees, mine, others))


def _agrees(mine: str, other: str) -> bool:
    plain = mine if mine == other else without_hint(mine)
    return plain == other or (bool(plain) and other.endswith(plain))


_FILES = {
    "environment": "# comment\n  FILED=from a file\n\nCALLER\nUNKNOWN\n",
    "bad": "A B=c\n",
    "no-mkdir.json": '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": '
    '[{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}',
}


def host_files(directory: Path) -> Path:
    """``directory`` with what command lines name by ``{files}``."""
    for name, text in _FILES.items():
        (directory / name).write_text(text)
    return directory


def filled(line: str, places: Mapping[str, str]) -> list[str]:
    """The words of a line, ``{name}`` being a place."""
    for name, value in places.items():
        line = line.replace(f"{{{name}}}", value)
    return shlex.split(line)


class Pair:
    """One Onggi and one dockerd that hold the same images."""

    def __init__(self, ours: Onggi, theirs: Daemon) -> None:
        self.ours = ours
        self.theirs = theirs
        self._threads = ThreadPoolExecutor(2)

    def words(self, line: str, places: Mapping[str, str]) -> list[str]:
        """Of a command line; who makes a container and says nothing of networks gets none."""
        verb, *words = filled(line, places)
        alone = verb in ("run", "create") and words and "--network" not in words
        return [verb, *(("--network", "none") if alone else ()), *words]

    def both(self, *words: str, stdin: str = "", **environment: str) -> tuple[Said, Said]:
        """Onggi's and Docker's, side by side in time."""
        sides = (self.ours, self.theirs)
        runs = [self._threads.submit(self._run, side, words, stdin, environment) for side in sides]
        return runs[0].result(), runs[1].result()

    def clear(self) -> None:
        """Remove every container."""
        for side in (self.ours, self.theirs):
            ids = side.output("ps", "-aq", "--no-trunc").split()
            if ids:
                side.run("rm", "-f", *ids)

    def _run(
        self, side: Onggi | Daemon, words: Sequence[str], stdin: str, environment: Mapping[str, str]
    ) -> Said:
        done = subprocess.run(
            side.command(*words),
            capture_output=True,
            text=True,
            input=stdin,
            env={**side.environment, **environment},
            check=False,
        )
        root = side.data_root
        return Said(done.returncode, comparable(done.stdout, root), comparable(done.stderr, root))

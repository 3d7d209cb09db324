"""Reading what lies in an image's layers, through its mounted stack, in each form that layers are kept in.

``cold`` begins with empty caches, ``warm`` is the same again. Of an image every file is read
(``cat``), and where it has a Python, that imports a good part of its library. Of one large text file:
all of it; 4 KiB at random places; its lines, by programs that ask in pieces of the file's
``st_blksize``: C's stdio (sed), and Python's text files.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench import images, report
from bench.machine import file_system, run, timed
from bench.pull import registry
from bench.stage import stage
from bench.systems import Onggi

__all__ = ["main"]

_LINES = "bench/lines"
_LINE_BYTES = 50_000_000
_PYTHONS = ("usr/local/bin/python3", "usr/bin/python3")
_IMPORTS = "import argparse, asyncio, decimal, email.message, http.client, json, logging, sqlite3, unittest"
_PYTHON_LINES = "for line in open('lines'): pass"
_RANDOM_READS = """
import os, random
fd, size = os.open('lines', os.O_RDONLY), os.stat('lines').st_size
places = random.Random(7)
for _ in range(5000):
    os.pread(fd, 4096, places.randrange(size))
"""

Action = Callable[[Path], object]
Measured = dict[str, tuple[list[float], list[float]]]
"""Seconds of each run, cold and warm, by what was done."""


def _program(*command: str) -> Action:
    return lambda place: subprocess.run(command, cwd=place, capture_output=True, check=True)


_ALL_FILES = _program("sh", "-c", "find . -xdev -type f -exec cat {} + >/dev/null")
_OF_LINES = {
    "whole": _program("sh", "-c", "cat lines >/dev/null"),
    "5,000 × 4 KiB": _program(sys.executable, "-I", "-S", "-c", _RANDOM_READS),
    "lines, sed": _program("sed", "-n", "$=", "lines"),
    "lines, Python": _program(sys.executable, "-I", "-S", "-c", _PYTHON_LINES),
}


def _forget() -> None:
    run(["sync"])
    Path("/proc/sys/vm/drop_caches").write_text("3")


def _measure(engine: Onggi, reference: str, actions: dict[str, Action], runs: int) -> Measured:
    found: Measured = {name: ([], []) for name in actions}
    with engine.mounted(reference) as path:
        for python in (python for python in _PYTHONS if (path / python).exists()):
            command = _program("chroot", ".", f"/{python}", "-I", "-c", _IMPORTS)
            actions, found = {**actions, "import": command}, {**found, "import": ([], [])}
        for name, action in actions.items():
            for _ in range(runs):
                _forget()
                for seconds in found[name]:
                    seconds.append(timed(partial(action, path)))
    return found


def _table(found: dict[str, Measured]) -> str:
    base = found["onggi"]
    rows = []
    for name in base:
        for engine, measured in found.items():
            row = [f"{name}, {engine}"]
            for seconds, of_base in zip(measured[name], base[name], strict=True):
                row += [report.spread(seconds, digits=3), report.ratio(seconds, of_base)]
            rows.append(row)
    return report.table(["", "cold, s", "ratio", "warm, s", "ratio"], rows)


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    with stage("read", __doc__, words) as here:
        images.write_lines(images.Storage(here.work / "storage"), _LINES, _LINE_BYTES)
        engines = [
            here.onggi,
            Onggi(here.program, "erofs"),
            Onggi(here.program, "erofs", "erofs.block-size=4096"),
        ]
        print("Ratios are to overlay2.\n")
        with registry(here.work) as host:
            of_images: dict[str, dict[str, Action]] = {
                name: {"every file": _ALL_FILES} for name in here.images
            }
            for name, actions in {**of_images, _LINES: _OF_LINES}.items():
                found = {}
                for engine in engines:
                    with file_system(here.work) as disk:
                        engine.start(disk)
                        engine.pull(f"{host}/{name}")
                        found[engine.name] = _measure(engine, f"{host}/{name}", actions, here.runs)
                print(f"### read {name}\n\n{_table(found)}", flush=True)

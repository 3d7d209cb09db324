"""Reading what lies in an image's layers, through the mounted stack of each storage driver.

``cold`` begins with empty caches, ``warm`` is the same again; both ``cat`` every file. The lines
are those of one text file in the page cache, read by programs that ask in pieces of the file's
``st_blksize``: C's stdio (sed), and Python's text files.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import images, report
from bench.machine import file_system, run, timed
from bench.pull import registry
from bench.stage import stage
from bench.systems import Onggi

__all__ = ["main"]

_LINES = "bench/lines"
_LINE_BYTES = 50_000_000
_PYTHON_LINES = "for line in open('lines'): pass"


def _cat(path: Path) -> None:
    subprocess.run(["sh", "-c", "find . -xdev -type f -exec cat {} + >/dev/null"], cwd=path, check=True)


def _forget() -> None:
    run(["sync"])
    Path("/proc/sys/vm/drop_caches").write_text("3")


def _all_files(engine: Onggi, reference: str, runs: int) -> tuple[list[float], list[float]]:
    cold, warm = [], []
    with engine.mounted(reference) as path:
        for _ in range(runs):
            _forget()
            cold.append(timed(lambda: _cat(path)))
            warm.append(timed(lambda: _cat(path)))
    return cold, warm


def _line_by_line(engine: Onggi, reference: str, runs: int) -> tuple[list[float], list[float]]:
    stdio: list[float] = []
    python: list[float] = []
    with engine.mounted(reference) as path:
        _cat(path)
        for _ in range(runs):
            stdio.append(_run_there(path, "sed", "-n", "$=", "lines"))
            python.append(_run_there(path, sys.executable, "-I", "-S", "-c", _PYTHON_LINES))
    return stdio, python


def _run_there(directory: Path, *command: str) -> float:
    return timed(lambda: subprocess.run(command, cwd=directory, capture_output=True, check=True))


def _table(found: dict[str, tuple[list[float], list[float]]], names: tuple[str, str]) -> str:
    base = found["onggi"]
    rows = []
    for key, both in found.items():
        row = [key]
        for seconds, of_base in zip(both, base, strict=True):
            row += [report.spread(seconds, digits=3), report.ratio(seconds, of_base)]
        rows.append(row)
    return report.table(["", f"{names[0]}, s", "ratio", f"{names[1]}, s", "ratio"], rows)


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    with stage("read", __doc__, words) as here:
        images.write_lines(images.Storage(here.work / "storage"), _LINES, _LINE_BYTES)
        engines = [here.onggi, Onggi(here.program, "erofs")]
        print("Ratios are to overlay2.\n")
        with registry(here.work) as host:
            for name, measure, columns in (
                *((name, _all_files, ("cold", "warm")) for name in here.images),
                (_LINES, _line_by_line, ("sed", "Python")),
            ):
                found = {}
                for engine in engines:
                    with file_system(here.work) as disk:
                        engine.start(disk)
                        engine.pull(f"{host}/{name}")
                        found[engine.name] = measure(engine, f"{host}/{name}", here.runs)
                print(f"### read {name}\n\n{_table(found, columns)}", flush=True)

"""Reading what lies in an image's layers, through the mounted stack of each storage driver.

``cold`` begins with empty caches, ``warm`` is the same again; both ``cat`` every file. The lines
are those of one text file in the page cache, read by programs that ask in pieces of the file's
``st_blksize``: C's stdio (sed), and Python's text files.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import images, report
from bench.machine import enter_private_mounts, file_system, run, timed
from bench.pull import add_options, add_sizes, chosen_sizes, prepare, registry
from bench.systems import Onggi, install_onggi

__all__ = ["main"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_LINES = "bench/lines"
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
    parser = argparse.ArgumentParser(prog="python -m bench read", description=__doc__)
    add_options(parser)
    add_sizes(parser)
    parser.add_argument("--line-bytes", type=int, default=50_000_000)
    options = parser.parse_args(words)
    enter_private_mounts()
    with tempfile.TemporaryDirectory(prefix="onggi-bench-", dir=options.work) as directory:
        work = Path(directory)
        onggi = options.onggi or install_onggi(_CHECKOUT, work)
        engines = [Onggi(onggi), Onggi(onggi, "erofs"), Onggi(onggi, "erofs", "erofs.block-size=4096")]
        names = prepare(work, chosen_sizes(options), options.image)
        images.write_lines(images.Storage(work / "storage"), _LINES, options.line_bytes)
        print(f"Medians of {options.runs} (least–most); ratios are to overlay2.\n\n{report.machine()}")
        with registry(work) as host:
            for name, measure, columns in (
                *((name, _all_files, ("cold", "warm")) for name in names),
                (_LINES, _line_by_line, ("sed", "Python")),
            ):
                found = {}
                for engine in engines:
                    with file_system(work) as disk:
                        engine.start(disk)
                        engine.pull(f"{host}/{name}")
                        found[engine.name] = measure(engine, f"{host}/{name}", options.runs)
                print(f"### read {name}\n\n{_table(found, columns)}", flush=True)

"""``onggi verify`` against this machine's own sha256, from the start of the command to its exit.

The image lies on a fresh ext4, in the page cache. One number is the bytes of its archives that
are recomputed per second; the others what hashlib makes of as many bytes in memory, in pieces
of 1 MiB, in one thread and in two. A clean image costs the most: everything is looked at.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from bench import report
from bench.machine import enter_private_mounts, file_system, timed
from bench.pull import add_options, prepare, registry
from bench.save import add_sizes, chosen_sizes
from bench.systems import Onggi, install_onggi

__all__ = ["main"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_PIECE_BYTES = 1024 * 1024


def sha256_rate(size_bytes: int, threads: int) -> float:
    """Bytes a second of hashlib, all threads together."""
    piece = os.urandom(_PIECE_BYTES)

    def work() -> None:
        hashed = hashlib.sha256()
        for _ in range(max(1, size_bytes // _PIECE_BYTES // threads)):
            hashed.update(piece)

    def all_of_it() -> None:
        running = [threading.Thread(target=work) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    return max(1, size_bytes // _PIECE_BYTES // threads) * threads * _PIECE_BYTES / timed(all_of_it)


def measure(engine: Onggi, reference: str, runs: int) -> list[list[str]]:
    """The table's rows for one image; the first run of each is not counted."""
    size_bytes = int(json.loads(engine.command("verify", "--json", reference))["Bytes"])
    full, fast, one, two = [], [], [], []
    for _ in range(runs):
        full.append(size_bytes / timed(lambda: engine.command("verify", "-q", reference)))
        one.append(sha256_rate(size_bytes, 1))
        two.append(sha256_rate(size_bytes, 2))
        fast.append(timed(lambda: engine.command("verify", "-q", "--fast", reference)))
    rates = (("verify", full), ("sha256, one thread", one), ("sha256, two threads", two))
    rows = [[name, report.spread(rate, 1e6, 0), report.ratio(full, rate)] for name, rate in rates]
    return [*rows, ["verify --fast", f"{report.spread(fast)} s", "–"]]


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench verify", description=__doc__)
    add_options(parser)
    add_sizes(parser)
    options = parser.parse_args(words)
    enter_private_mounts()
    with tempfile.TemporaryDirectory(prefix="onggi-bench-", dir=options.work) as directory:
        work = Path(directory)
        engine = Onggi(options.onggi or install_onggi(_CHECKOUT, work))
        (work / engine.name).mkdir()
        names = prepare(work, chosen_sizes(options), options.image)
        print(f"Medians of {options.runs} (least–most).\n\n{report.machine()}")
        with registry(work) as host, file_system(work / engine.name) as disk:
            engine.start(disk)
            for name in names:
                engine.pull(f"{host}/{name}")
                rows = measure(engine, f"{host}/{name}", options.runs)
                header = ["", "MB/s", "verify is"]
                print(f"### verify {name}\n\n{report.table(header, rows)}", flush=True)
                engine.command("rmi", f"{host}/{name}")

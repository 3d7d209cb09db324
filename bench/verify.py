"""``onggi verify`` against this machine's own sha256, from the start of the command to its exit.

The image lies on a fresh ext4, in the page cache. One number is the bytes of its archives that
are recomputed per second; the others what hashlib makes of as many bytes in memory, in pieces
of 1 MiB, in one thread and in two. A clean image costs the most: everything is looked at.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from itertools import product

from bench import report
from bench.machine import timed
from bench.pull import registry
from bench.stage import holding, stage
from bench.systems import Onggi

__all__ = ["main"]

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
    with stage("verify", __doc__, words) as here, registry(here.work) as host:
        engines = [here.onggi, Onggi(here.program, "erofs")]
        for name, engine in product(here.images, engines):
            reference = f"{host}/{name}"
            with holding([engine], reference, here.work):
                rows = measure(engine, reference, here.runs)
            table = report.table(["", "MB/s", "verify is"], rows)
            print(f"### verify {name}, {engine.name}\n\n{table}", flush=True)

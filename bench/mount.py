"""Mounting a stack of read-only layers, in a process that runs: no start of a command is included.

``first`` is the first mount after the pull, ``again`` one of the next: the layers may be mounted
already. Stacks that a driver does not take are left out, with its own words.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import onggi
from bench import images, report
from bench.machine import enter_private_mounts, file_system
from bench.pull import add_options, registry

__all__ = ["main"]

_DEPTHS = (1, 10, 60, 127, 400)
_HEADER = ["layers", "first, ms", "again, ms", "unmount, ms"]


def measure(engine: onggi.Engine, reference: str, runs: int) -> list[str]:
    """Milliseconds: first, again, unmount; or why there are none."""
    try:
        engine.images.pull(reference)
    except onggi.OnggiError as error:
        return [error.message, "–", "–"]
    mounts, unmounts = [], []
    for _ in range(runs + 1):
        start = perf_counter()
        record = engine.mounts.mount(reference)
        mounted = perf_counter()
        engine.mounts.unmount(record.id)
        mounts.append(mounted - start)
        unmounts.append(perf_counter() - mounted)
    return [
        report.spread(mounts[:1], 1e-3, 1),
        report.spread(mounts[1:], 1e-3, 1),
        report.spread(unmounts, 1e-3, 1),
    ]


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench mount", description=__doc__)
    add_options(parser)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args(words)
    enter_private_mounts()
    with tempfile.TemporaryDirectory(prefix="onggi-bench-", dir=options.work) as directory:
        work = Path(directory)
        storage = images.Storage(work / "storage")
        storage.directory.mkdir()
        for depth in _DEPTHS:
            images.write_deep(storage, f"bench/deep{depth}", depth)
        print(f"Medians of {options.runs} (least–most).\n\n{report.machine()}")
        with registry(work) as host:
            for driver in ("overlay2", "erofs"):
                with (
                    file_system(work) as disk,
                    onggi.open(data_root=disk / "onggi", storage_driver=driver) as engine,
                ):
                    rows = [
                        [str(depth), *measure(engine, f"{host}/bench/deep{depth}", options.runs)]
                        for depth in _DEPTHS
                    ]
                print(f"### mount {driver}\n\n{report.table(_HEADER, rows)}", flush=True)

"""Saves to a file, from the start of the command to its exit.

Both engines hold the image on one fresh ext4 each, in the page cache, and save it in turn to a
file on the same file system. Two numbers of every run: the save, and the save with a
``sync -f`` (both engines flush by themselves). The archive is deleted after each run. Memory
comes from one more run that is not timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import report
from bench.machine import MemoryWatch, run, timed
from bench.pull import registry
from bench.stage import HEADER, Engine, Samples, holding, in_turn, row, stage

__all__ = ["main"]


def _save(engine: Engine, reference: str, disk: Path, samples: Samples | None) -> None:
    out = disk / "out.tar"
    seconds = timed(lambda: engine.command("save", "-o", str(out), reference))
    sync = timed(lambda: run(["sync", "-f", disk]))
    if samples is not None:
        samples.alone.append(seconds)
        samples.synced.append(seconds + sync)
    out.unlink()
    run(["sync", "-f", disk])


def compare(systems: Sequence[Engine], reference: str, work: Path, runs: int) -> dict[str, Samples]:
    """Every engine in turn; one run of each is not counted."""
    found = {engine.name: Samples() for engine in systems}
    with holding(systems, reference, work) as disks:
        for turn, engine in in_turn(systems, runs + 1):
            _save(engine, reference, disks[engine.name], found[engine.name] if turn else None)
        for engine in systems:
            with MemoryWatch(engine.process_ids) as watch:
                _save(engine, reference, disks[engine.name], None)
            found[engine.name].peak_bytes = watch.peak_bytes
    return found


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    with stage("save", __doc__, words) as here, registry(here.work) as host:
        systems = here.engines()
        for name in here.images:
            found = compare(systems, f"{host}/{name}", here.work, here.runs)
            rows = [row(key, samples, found.get("dockerd", Samples())) for key, samples in found.items()]
            print(f"### save {name}\n\n{report.table(HEADER, rows)}", flush=True)

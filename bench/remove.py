"""Removals of one image, from the start of the command to its exit, and made durable.

Every engine pulls the image anew before each run, on a fresh ext4 of its own; only the removal is
timed, alone and with a ``sync -f``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import report
from bench.machine import run, timed
from bench.pull import registry
from bench.stage import HEADER, Engine, Samples, holding, in_turn, row, stage

__all__ = ["main"]


def _remove(engine: Engine, reference: str, disk: Path, samples: Samples) -> None:
    engine.pull(reference)
    run(["sync", "-f", disk])
    seconds = timed(lambda: engine.command("rmi", reference))
    sync = timed(lambda: run(["sync", "-f", disk]))
    samples.alone.append(seconds)
    samples.synced.append(seconds + sync)


def compare(systems: Sequence[Engine], reference: str, work: Path, runs: int) -> dict[str, Samples]:
    """Every engine in turn."""
    found = {engine.name: Samples() for engine in systems}
    with holding(systems, reference, work) as disks:
        for engine in systems:
            engine.command("rmi", reference)
        for _, engine in in_turn(systems, runs):
            _remove(engine, reference, disks[engine.name], found[engine.name])
    return found


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    with stage("remove", __doc__, words) as here, registry(here.work) as host:
        systems = here.engines("erofs")
        for name in here.images:
            found = compare(systems, f"{host}/{name}", here.work, here.runs)
            base = found.get("dockerd", Samples())
            rows = [row(key, samples, base)[:-1] for key, samples in found.items()]
            print(f"### remove {name}\n\n{report.table(HEADER[:-1], rows)}", flush=True)

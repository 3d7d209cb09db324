"""Loads from a file, from the start of the command to its exit, on a fresh ext4 each time.

The archive is one engine's own ``save`` (dockerd's where there is one), uncompressed or gzip-ed,
and lies in the page cache. Two numbers of every run: the load, and the load with a ``sync -f``
(Onggi flushes by itself, dockerd does not). Memory comes from one more run that is not timed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench import report
from bench.machine import MemoryWatch, file_system, run, timed
from bench.pull import registry
from bench.stage import HEADER, Engine, Samples, in_turn, row, stage

__all__ = ["main"]


def _archives(engine: Engine, reference: str, work: Path) -> dict[str, Path]:
    """The image saved by ``engine``, as it is and gzip-ed."""
    plain, packed = work / "image.tar", work / "image.tar.gz"
    with file_system(work) as disk:
        engine.start(disk)
        try:
            engine.pull(reference)
            engine.command("save", "-o", str(plain), reference)
        finally:
            engine.stop()
    with open(packed, "wb") as out:
        subprocess.run(["gzip", "-1", "-c", str(plain)], stdout=out, check=True)
    return {"tar": plain, "tar.gz": packed}


def _load(engine: Engine, archive: Path, work: Path, samples: Samples, *, watched: bool) -> None:
    with file_system(work) as disk:
        engine.start(disk)
        try:
            if watched:
                with MemoryWatch(engine.process_ids) as watch:
                    engine.command("load", "-q", "-i", str(archive))
                samples.peak_bytes = watch.peak_bytes
                return
            seconds = timed(lambda: engine.command("load", "-q", "-i", str(archive)))
            samples.alone.append(seconds)
            samples.synced.append(seconds + timed(lambda: run(["sync", "-f", disk])))
        finally:
            engine.stop()


def compare(systems: Sequence[Engine], archive: Path, work: Path, runs: int) -> dict[str, Samples]:
    """Every engine in turn, each round beginning with another one."""
    found = {engine.name: Samples() for engine in systems}
    for _, engine in in_turn(systems, runs):
        _load(engine, archive, work, found[engine.name], watched=False)
    for engine in systems:
        _load(engine, archive, work, found[engine.name], watched=True)
    return found


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    with stage("load", __doc__, words) as here:
        systems = here.engines()
        for name in here.images:
            with registry(here.work) as host:
                archives = _archives(systems[-1], f"{host}/{name}", here.work)
            for kind, archive in archives.items():
                found = compare(systems, archive, here.work, here.runs)
                rows = [row(key, samples, found.get("dockerd", Samples())) for key, samples in found.items()]
                print(f"### load {name}, {kind}\n\n{report.table(HEADER, rows)}", flush=True)
                archive.unlink()

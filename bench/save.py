"""Saves to a file, from the start of the command to its exit.

Both engines hold the image on one fresh ext4 each, in the page cache, and save it in turn to a
file on the same file system. Two numbers of every run: the save, and the save with a
``sync -f`` (both engines flush by themselves). The archive is deleted after each run. Memory
comes from one more run that is not timed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import images, report
from bench.machine import MemoryWatch, enter_private_mounts, file_system, find, run, timed
from bench.pull import add_options, prepare, registry
from bench.systems import Dockerd, Onggi, install_onggi

__all__ = ["Engine", "Samples", "add_sizes", "chosen_sizes", "engines", "main", "row"]

_CHECKOUT = Path(__file__).resolve().parents[1]
HEADER = ["", "s", "ratio", "+ `sync -f`, s", "ratio", "peak PSS, MB"]
Engine = Onggi | Dockerd


@dataclass
class Samples:
    """Seconds of each run of one engine."""

    alone: list[float] = field(default_factory=list)
    synced: list[float] = field(default_factory=list)
    peak_bytes: int = 0


def engines(onggi: Path, work: Path) -> list[Engine]:
    """Onggi, and dockerd where it is installed."""
    found: list[Engine] = [Onggi(onggi)]
    if find("dockerd") is None:
        print("dockerd is not installed: not measured\n")
    else:
        found.append(Dockerd(work))
    return found


def row(name: str, samples: Samples, base: Samples) -> list[str]:
    """One engine's line; ratios are to ``base``."""
    return [
        name,
        *(report.spread(samples.alone), report.ratio(samples.alone, base.alone)),
        *(report.spread(samples.synced), report.ratio(samples.synced, base.synced)),
        f"{samples.peak_bytes / 1e6:.0f}",
    ]


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """How often, and how large the generated images are."""
    defaults = images.Sizes()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--image", action="append", default=[], help="only these repositories")
    parser.add_argument("--files", type=int, default=defaults.files)
    parser.add_argument("--small-bytes", type=int, default=defaults.small_bytes)
    parser.add_argument("--large-bytes", type=int, default=defaults.large_bytes)


def chosen_sizes(options: argparse.Namespace) -> images.Sizes:
    """What :func:`add_sizes` has asked."""
    return images.Sizes(options.files, images.Sizes().layers, options.small_bytes, options.large_bytes)


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
    with ExitStack() as stack:
        disks = {engine.name: stack.enter_context(file_system(work / engine.name)) for engine in systems}
        for engine in systems:
            engine.start(disks[engine.name])
            stack.callback(engine.stop)
            engine.pull(reference)
        for turn in range(runs + 1):
            for engine in systems[:: 1 if turn % 2 else -1]:
                _save(engine, reference, disks[engine.name], found[engine.name] if turn else None)
        for engine in systems:
            with MemoryWatch(engine.process_ids) as watch:
                _save(engine, reference, disks[engine.name], None)
            found[engine.name].peak_bytes = watch.peak_bytes
    return found


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench save", description=__doc__)
    add_options(parser)
    add_sizes(parser)
    options = parser.parse_args(words)
    enter_private_mounts()
    with tempfile.TemporaryDirectory(prefix="onggi-bench-", dir=options.work) as directory:
        work = Path(directory)
        systems = engines(options.onggi or install_onggi(_CHECKOUT, work), work)
        for engine in systems:
            (work / engine.name).mkdir()
        names = prepare(work, chosen_sizes(options), options.image)
        print(f"Medians of {options.runs} (least–most); ratios are to dockerd.\n\n{report.machine()}")
        with registry(work) as host:
            for name in names:
                found = compare(systems, f"{host}/{name}", work, options.runs)
                rows = [row(key, samples, found.get("dockerd", Samples())) for key, samples in found.items()]
                print(f"### save {name}\n\n{report.table(HEADER, rows)}", flush=True)

"""Removals of one image, from the start of the command to its exit, and made durable.

Every engine pulls the image anew before each run, on a fresh ext4 of its own; only the removal is
timed, alone and with a ``sync -f``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import report
from bench.machine import enter_private_mounts, file_system, run, timed
from bench.pull import add_options, add_sizes, chosen_sizes, prepare, registry
from bench.stage import Engine, Samples, in_turn
from bench.systems import Dockerd, Onggi, install_onggi, installed_systems

__all__ = ["main"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_HEADER = ["", "s", "ratio", "+ `sync -f`, s", "ratio"]


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
    with ExitStack() as stack:
        disks = {engine.name: stack.enter_context(file_system(work / engine.name)) for engine in systems}
        for engine in systems:
            engine.start(disks[engine.name])
            stack.callback(engine.stop)
        for _, engine in in_turn(systems, runs):
            _remove(engine, reference, disks[engine.name], found[engine.name])
    return found


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench remove", description=__doc__)
    add_options(parser)
    add_sizes(parser)
    options = parser.parse_args(words)
    enter_private_mounts()
    with tempfile.TemporaryDirectory(prefix="onggi-bench-", dir=options.work) as directory:
        work = Path(directory)
        onggi = options.onggi or install_onggi(_CHECKOUT, work)
        wanted = installed_systems(onggi, work, ["overlay2", "erofs", "dockerd"])
        systems = [engine for engine in wanted if isinstance(engine, Onggi | Dockerd)]
        for engine in systems:
            (work / engine.name).mkdir()
        names = prepare(work, chosen_sizes(options), options.image)
        print(f"Medians of {options.runs} (least–most); ratios are to dockerd.\n\n{report.machine()}")
        with registry(work) as host:
            for name in names:
                found = compare(systems, f"{host}/{name}", work, options.runs)
                base = found.get("dockerd", Samples())
                rows = [
                    [
                        key,
                        *(report.spread(samples.alone, digits=3), report.ratio(samples.alone, base.alone)),
                        *(report.spread(samples.synced, digits=3), report.ratio(samples.synced, base.synced)),
                    ]
                    for key, samples in found.items()
                ]
                print(f"### remove {name}\n\n{report.table(_HEADER, rows)}", flush=True)

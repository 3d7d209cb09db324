"""Pushes to an empty docker-registry, from the start of the command to its exit.

Both engines hold the image on one fresh ext4 each, in the page cache, and push it in turn: every
run to a new registry with a storage of its own, so that nothing is there already and nothing can
be mounted. Two numbers of every run: the push, and the push with a ``sync -f`` of the registry's
file system. Then, per engine, a second push to a registry that has everything. The bytes are
those of the registry's storage: engines compress differently. Memory comes from one more run that
is not timed.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import report
from bench.machine import MemoryWatch, enter_private_mounts, file_system, run, timed
from bench.pull import add_options, prepare, registry
from bench.save import Engine, add_sizes, chosen_sizes, engines
from bench.systems import install_onggi

__all__ = ["main"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_HEADER = ["", "s", "ratio", "+ `sync -f`, s", "ratio", "again, s", "ratio", "sent, MB", "peak PSS, MB"]


@dataclass
class Samples:
    """Seconds of each run of one engine; ``sent_bytes`` is what the registry then held."""

    alone: list[float] = field(default_factory=list)
    synced: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    sent_bytes: int = 0
    peak_bytes: int = 0


@contextmanager
def _target(engine: Engine, reference: str, work: Path) -> Iterator[str]:
    """A name for the image at a new, empty registry; forgotten at the end."""
    directory = Path(tempfile.mkdtemp(prefix="target-", dir=work))
    (directory / "storage").mkdir()
    try:
        with registry(directory) as host:
            name = f"{host}/{reference.partition('/')[2]}"
            engine.command("tag", reference, name)
            yield name
            engine.command("rmi", name)
    finally:
        shutil.rmtree(directory)
        run(["sync", "-f", work])


def _push(engine: Engine, reference: str, work: Path, samples: Samples) -> None:
    """One timed push, and a second one of the same."""
    with _target(engine, reference, work) as name:
        seconds = timed(lambda: engine.command("push", "-q", name))
        sync = timed(lambda: run(["sync", "-f", work]))
        samples.alone.append(seconds)
        samples.synced.append(seconds + sync)
        samples.again.append(timed(lambda: engine.command("push", "-q", name)))
        samples.sent_bytes = sum(path.stat().st_size for path in work.glob("target-*/storage/**/data"))


def _watch(engine: Engine, reference: str, work: Path, samples: Samples) -> None:
    with (
        _target(engine, reference, work) as name,
        MemoryWatch(engine.process_ids) as watch,
    ):
        engine.command("push", "-q", name)
    samples.peak_bytes = watch.peak_bytes


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
                _push(engine, reference, work, found[engine.name] if turn else Samples())
        for engine in systems:
            _watch(engine, reference, work, found[engine.name])
    return found


def _row(name: str, samples: Samples, base: Samples) -> list[str]:
    return [
        name,
        *(report.spread(samples.alone), report.ratio(samples.alone, base.alone)),
        *(report.spread(samples.synced), report.ratio(samples.synced, base.synced)),
        *(report.spread(samples.again), report.ratio(samples.again, base.again)),
        f"{samples.sent_bytes / 1e6:.0f}",
        f"{samples.peak_bytes / 1e6:.0f}",
    ]


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench push", description=__doc__)
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
                base = found.get("dockerd", Samples())
                rows = [_row(key, samples, base) for key, samples in found.items()]
                print(f"### push {name}\n\n{report.table(_HEADER, rows)}", flush=True)

"""Pushes to an empty docker-registry, from the start of the command to its exit.

Both engines hold the image on one fresh ext4 each, in the page cache, and push it in turn: every
run to a new registry with a storage of its own, so that nothing is there already and nothing can
be mounted. Two numbers of every run: the push, and the push with a ``sync -f`` of the registry's
file system. Then, per engine, a second push to a registry that has everything. The bytes are
those of the registry's storage: engines compress differently. Memory comes from one more run that
is not timed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import report, stage
from bench.machine import MemoryWatch, run, timed
from bench.pull import registry
from bench.stage import Engine, holding, in_turn

__all__ = ["main"]

_HEADER = [*stage.HEADER[:-1], "again, s", "ratio", "sent, MB", stage.HEADER[-1]]


@dataclass
class Samples(stage.Samples):
    """``again``: seconds of each second push; ``sent_bytes`` is what the registry then held."""

    again: list[float] = field(default_factory=list)
    sent_bytes: int = 0


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
    with holding(systems, reference, work):
        for turn, engine in in_turn(systems, runs + 1):
            _push(engine, reference, work, found[engine.name] if turn else Samples())
        for engine in systems:
            _watch(engine, reference, work, found[engine.name])
    return found


def _row(name: str, samples: Samples, base: Samples) -> list[str]:
    *known, peak = stage.row(name, samples, base)
    again = report.spread(samples.again), report.ratio(samples.again, base.again)
    return [*known, *again, f"{samples.sent_bytes / 1e6:.0f}", peak]


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    with stage.stage("push", __doc__, words) as here, registry(here.work) as host:
        systems = here.engines()
        for name in here.images:
            found = compare(systems, f"{host}/{name}", here.work, here.runs)
            base = found.get("dockerd", Samples())
            rows = [_row(key, samples, base) for key, samples in found.items()]
            print(f"### push {name}\n\n{report.table(_HEADER, rows)}", flush=True)

"""What the measurements of verbs share: options, engines that hold the same images, their turns."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import report
from bench.machine import enter_private_mounts, file_system, find
from bench.pull import add_options, add_sizes, chosen_sizes, prepare
from bench.systems import Dockerd, Onggi, install_onggi

__all__ = ["HEADER", "Engine", "Samples", "Stage", "holding", "in_turn", "row", "stage"]

_CHECKOUT = Path(__file__).resolve().parents[1]
HEADER = ["", "s", "ratio", "+ `sync -f`, s", "ratio", "peak PSS, MB"]
Engine = Onggi | Dockerd


@dataclass
class Samples:
    """Seconds of each run of one engine, alone and with a ``sync -f``."""

    alone: list[float] = field(default_factory=list)
    synced: list[float] = field(default_factory=list)
    peak_bytes: int = 0


def row(name: str, samples: Samples, base: Samples) -> list[str]:
    """One engine's line below :data:`HEADER`; ratios are to ``base``."""
    return [
        name,
        *(report.spread(samples.alone), report.ratio(samples.alone, base.alone)),
        *(report.spread(samples.synced), report.ratio(samples.synced, base.synced)),
        f"{samples.peak_bytes / 1e6:.0f}",
    ]


@dataclass
class Stage:
    """Where one measurement takes place; ``images`` are repositories in ``work/storage``."""

    work: Path
    runs: int
    program: Path
    images: list[str]

    @property
    def onggi(self) -> Onggi:
        """With the driver it has by itself."""
        return Onggi(self.program)

    def engines(self, *drivers: str) -> list[Engine]:
        """Onggi, with more drivers of it, and dockerd where it is installed."""
        ours = [self.onggi, *(Onggi(self.program, driver) for driver in drivers)]
        if find("dockerd") is None:
            print("dockerd is not installed: not measured\n")
            return [*ours]
        print("Ratios are to dockerd.\n")
        return [*ours, Dockerd(self.work)]


@contextmanager
def stage(verb: str, about: str | None, words: Sequence[str]) -> Iterator[Stage]:
    """Read the command line, install, prepare, and say what the numbers are."""
    parser = argparse.ArgumentParser(prog=f"python -m bench {verb}", description=about)
    add_options(parser)
    add_sizes(parser)
    options = parser.parse_args(words)
    enter_private_mounts()
    with tempfile.TemporaryDirectory(prefix="onggi-bench-", dir=options.work) as directory:
        work = Path(directory)
        program = options.onggi or install_onggi(_CHECKOUT, work)
        names = prepare(work, chosen_sizes(options), options.image)
        print(f"Medians of {options.runs} (least–most).\n\n{report.machine()}")
        yield Stage(work, options.runs, program, names)


@contextmanager
def holding(systems: Sequence[Engine], reference: str, work: Path) -> Iterator[dict[str, Path]]:
    """Every engine with the image on a fresh ext4 of its own; gives the disks by the engines' names."""
    with ExitStack() as stack:
        disks = {}
        for engine in systems:
            place = work / engine.name
            place.mkdir(exist_ok=True)
            disks[engine.name] = stack.enter_context(file_system(place))
        for engine in systems:
            engine.start(disks[engine.name])
            stack.callback(engine.stop)
            engine.pull(reference)
        yield disks


def in_turn(systems: Sequence[Engine], runs: int) -> Iterator[tuple[int, Engine]]:
    """Every engine ``runs`` times with the number of the round; rounds begin with different ones."""
    for turn in range(runs):
        for engine in systems[:: 1 if turn % 2 else -1]:
            yield turn, engine

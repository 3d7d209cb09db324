"""One crash after another: run a verb, stop it at a point, look, let the next command run, look again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.crash.checks import Snapshot, compare, empty_files, failures, held, leftovers, refetched, snapshot
from tests.crash.child import command, open_engine
from tests.crash.power import Disk, PowerCut
from tests.crash.registry import CountingRegistry, counting
from tests.crash.samples import APP, OTHER, write_samples
from tests.crash.tracer import Outcome, trace

__all__ = ["NEVER", "PULL_RATE", "Campaign", "campaign", "sweep"]

# Bytes a second: slow enough that layers are unpacked while blobs still arrive.
PULL_RATE = 2_000_000
# A count no run reaches.
NEVER = 1_000_000


@dataclass
class Campaign:
    """The registry, and what a data root looks like when nothing goes wrong."""

    layout: Path
    registry: CountingRegistry
    work: Path
    expected: Snapshot
    expected_other: Snapshot
    pull_calls: int
    remove_calls: int

    @contextmanager
    def fresh_root(self) -> Iterator[Path]:
        """A data root that is deleted afterwards."""
        root = self.work / "root"
        shutil.rmtree(root, ignore_errors=True)
        yield root
        shutil.rmtree(root, ignore_errors=True)

    def pull(self, root: Path, name: str = APP) -> None:
        """A pull that must succeed."""
        with open_engine(root, self.registry.url) as engine:
            engine.images.pull(name)

    def command(self, verb: str, root: Path, name: str = APP) -> list[str]:
        """The process that will be killed."""
        return command(verb, root, self.registry.url, name, PULL_RATE if verb == "pull" else None)

    # --- pull -----------------------------------------------------------------------------

    def kill_pull(self, stop_at: int) -> tuple[Outcome, list[str]]:
        """Kill a pull at a point; what is wrong then, and after the next pull."""
        with self.fresh_root() as root:
            outcome = trace(self.command("pull", root), stop_at)
            return outcome, self.after_pull(root)

    def cut_pull(self, disk: Disk, stop_at: int, *, journal: bool) -> tuple[Outcome, list[str]]:
        """The same with a power cut instead."""
        root = disk.path / "root"
        outcome = trace(self.command("pull", root), stop_at, cut=PowerCut(str(disk.path), journal))
        disk.after_power_cut()
        problems = self.after_pull(root)
        shutil.rmtree(root, ignore_errors=True)
        return outcome, problems

    def after_pull(self, root: Path) -> list[str]:
        """Look at an interrupted pull's root, pull again, look again."""
        problems = empty_files(root) + failures(root, self.registry.url)
        before = held(root, self.layout, APP)
        self.registry.forget()
        self.pull(root)
        problems += refetched(before, self.registry) + leftovers(root) + empty_files(root)
        return problems + compare(snapshot(root), self.expected) + failures(root, self.registry.url)

    # --- remove ---------------------------------------------------------------------------

    def kill_remove(self, stop_at: int) -> tuple[Outcome, list[str]]:
        """Kill an rmi of APP, with OTHER beside it, at a point."""
        with self.fresh_root() as root:
            self._fill(root)
            outcome = trace(self.command("remove", root), stop_at)
            return outcome, self.after_remove(root)

    def cut_remove(self, disk: Disk, stop_at: int, *, journal: bool) -> tuple[Outcome, list[str]]:
        """The same with a power cut instead."""
        root = disk.path / "root"
        self._fill(root)
        outcome = trace(self.command("remove", root), stop_at, cut=PowerCut(str(disk.path), journal))
        disk.after_power_cut()
        problems = self.after_remove(root)
        shutil.rmtree(root, ignore_errors=True)
        return outcome, problems

    def _fill(self, root: Path) -> None:
        self.pull(root, OTHER)
        self.pull(root, APP)

    def after_remove(self, root: Path) -> list[str]:
        """Look at an interrupted removal, let the next command finish it, look again."""
        problems = empty_files(root) + failures(root, self.registry.url)
        with open_engine(root, self.registry.url) as engine:
            if any(f"{APP}:latest" in image.tags for image in engine.images.list(all=True)):
                engine.images.remove(APP)
            else:
                engine.system.recover()
        problems += leftovers(root) + empty_files(root)
        return problems + _without_history(compare(snapshot(root), self.expected_other))


def _without_history(problems: list[str]) -> list[str]:
    """``distribution/`` remembers blobs of layers that are gone, as Docker's does."""
    return [problem for problem in problems if "image/overlay2: distribution/" not in problem]


@contextmanager
def campaign(work: Path) -> Iterator[Campaign]:
    """Write the samples, serve them, and take the measure of undisturbed runs."""
    layout = write_samples(work / "layout").directory
    with counting(layout) as registry:
        made = Campaign(layout, registry, work, ({}, {}), ({}, {}), 0, 0)
        with made.fresh_root() as root:
            made.pull_calls = _undisturbed(made.command("pull", root))
            made.expected = snapshot(root)
        with made.fresh_root() as root:
            made.pull(root, OTHER)
            made.expected_other = snapshot(root)
            made.pull(root, APP)
            made.remove_calls = _undisturbed(made.command("remove", root))
        yield made


def _undisturbed(words: list[str]) -> int:
    outcome = trace(words, NEVER)
    assert outcome.status == 0 and not outcome.call, outcome.output
    return outcome.counted


def sweep(crash: Callable[[int], tuple[Outcome, list[str]]], limit: int) -> list[str]:
    """Every point from the first to the one that no run reaches any more; all that went wrong."""
    problems = []
    for stop_at in range(1, limit):
        outcome, found = crash(stop_at)
        problems += [f"#{stop_at} {outcome.call}: {problem}" for problem in found]
        if not outcome.call:
            assert outcome.status == 0, outcome.output
            return problems
    raise AssertionError(f"a run made more than {limit} calls")

"""One crash after another: run a verb, stop it at a point, look, let the next command run, look again."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.checks import Snapshot, compare, empty_files, failures, held, leftovers, refetched, snapshot
from tests.crash.child import command, open_engine
from tests.crash.power import Disk, PowerCut
from tests.crash.registry import CountingRegistry, counting
from tests.crash.samples import APP, OTHER, chains, documents, read_document, write_samples
from tests.crash.tracer import Outcome, trace
from tests.peers.processes import require

__all__ = [
    "HEALING",
    "LOAD",
    "NEVER",
    "PULL_RATE",
    "PULL",
    "REMOVAL",
    "REPAIR",
    "Campaign",
    "Story",
    "campaign",
    "sample",
    "sweep",
]

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
    expected_loaded: Snapshot = field(default=({}, {}))

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

    @property
    def archive(self) -> Path:
        """APP in a compressed docker archive."""
        return self.work / "app.tar.gz"

    def command(self, verb: str, root: Path, name: str = APP) -> list[str]:
        """The process that will be killed."""
        if verb == "load":
            return command(verb, root, self.registry.url, str(self.archive))
        return command(verb, root, self.registry.url, name, PULL_RATE if verb == "pull" else None)

    def layer_sizes(self) -> dict[str, int]:
        """The layer blobs of all samples, in bytes."""
        entries = json.loads((self.layout / "index.json").read_bytes())["manifests"]
        manifests = [read_document(self.layout, entry["digest"]) for entry in entries]
        return {layer["digest"]: layer["size"] for manifest in manifests for layer in manifest["layers"]}

    def layers_of(self, name: str) -> list[str]:
        """The layer blobs of one sample, base first."""
        return [layer["digest"] for layer in documents(self.layout, name)[0]["layers"]]

    # --- crashes --------------------------------------------------------------------------

    def kill(self, story: Story, stop_at: int) -> tuple[Outcome, list[str]]:
        """Kill a process of the story at a point; what is wrong then, and after the next command."""
        with self.fresh_root() as root:
            story.prepare(self, root)
            outcome = trace(self.command(story.verb, root), stop_at)
            return outcome, story.look(self, root, False)

    def cut(self, story: Story, disk: Disk, journal: bool, stop_at: int) -> tuple[Outcome, list[str]]:
        """The same with a power cut instead."""
        root = disk.path / "root"
        story.prepare(self, root)
        disk.sync()
        outcome = trace(self.command(story.verb, root), stop_at, cut=PowerCut(str(disk.path), journal))
        disk.after_power_cut()
        problems = story.look(self, root, True)
        shutil.rmtree(root, ignore_errors=True)
        return outcome, problems

    def calls(self, story: Story) -> int:
        """How many points an undisturbed run of the story has."""
        with self.fresh_root() as root:
            story.prepare(self, root)
            outcome = trace(self.command(story.verb, root), NEVER)
        assert outcome.status == 0 and not outcome.call, outcome.output
        return outcome.counted


@dataclass(frozen=True, slots=True)
class Story:
    """Fill a data root, run ``verb``, crash it; ``look`` runs the next command and tells what is wrong.

    ``look`` is told whether the crash was a power cut.
    """

    verb: str
    prepare: Callable[[Campaign, Path], None]
    look: Callable[[Campaign, Path, bool], list[str]]


def _nothing(campaign: Campaign, root: Path) -> None:
    """The data root does not exist yet."""


def _after_pull(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    problems = empty_files(root) + failures(root, campaign.registry.url)
    before = held(root, campaign.layout, APP)
    if power_cut:
        before = before.surely()
    campaign.registry.forget()
    campaign.pull(root)
    return problems + refetched(before, campaign.registry) + _is_as_expected(campaign, root)


def _is_as_expected(campaign: Campaign, root: Path) -> list[str]:
    problems = leftovers(root) + empty_files(root) + failures(root, campaign.registry.url)
    return problems + compare(snapshot(root), campaign.expected)


def _both_images(campaign: Campaign, root: Path) -> None:
    campaign.pull(root, OTHER)
    campaign.pull(root, APP)


def _after_removal(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    problems = empty_files(root) + failures(root, campaign.registry.url)
    with open_engine(root, campaign.registry.url) as engine:
        if any(f"{APP}:latest" in image.tags for image in engine.images.list(all=True)):
            engine.images.remove(APP)
        else:
            engine.system.recover()
    problems += leftovers(root) + empty_files(root)
    return problems + _without_history(compare(snapshot(root), campaign.expected_other))


def _damaged_layer(campaign: Campaign, root: Path) -> None:
    """An image whose middle layer has lost its directory (moby#41190)."""
    campaign.pull(root)
    middle = chains(campaign.layout, APP)[1]
    cache_id = (root / "image/overlay2/layerdb/sha256" / middle / "cache-id").read_text()
    shutil.rmtree(root / "overlay2" / cache_id)


def _after_repair(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    problems = empty_files(root)
    campaign.pull(root)
    return problems + _is_as_expected(campaign, root)


def _changed_layers(campaign: Campaign, root: Path) -> None:
    """Files of two layers are edited, and a third has lost metadata."""
    campaign.pull(root, OTHER)
    campaign.pull(root)
    base, middle, top = (
        root / "image/overlay2/layerdb/sha256" / chain for chain in chains(campaign.layout, APP)
    )
    for entry, name in ((base, "etc/name"), (middle, "data/d0/small")):
        path = root / "overlay2" / (entry / "cache-id").read_text() / "diff" / name
        before = path.stat()
        path.write_bytes(b"x" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (top / "size").write_text("1")


def _after_healing(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    """Nobody misses a layer at any moment: what stands on the one being replaced stays usable."""
    problems = empty_files(root) + failures(root, campaign.registry.url)
    with open_engine(root, campaign.registry.url) as engine:
        engine.images.repair(APP)
        problems += [f"verify: {finding}" for finding in engine.images.verify(all=True)]
        engine.images.remove(OTHER)
    problems += leftovers(root) + empty_files(root) + failures(root, campaign.registry.url)
    return problems + _without_history(compare(snapshot(root), campaign.expected))


def _after_load(campaign: Campaign, root: Path, power_cut: bool) -> list[str]:
    problems = empty_files(root) + failures(root, campaign.registry.url)
    with open_engine(root, campaign.registry.url) as engine:
        engine.images.load(campaign.archive)
    problems += leftovers(root) + empty_files(root) + failures(root, campaign.registry.url)
    return problems + compare(snapshot(root), campaign.expected_loaded)


def _write_archive(campaign: Campaign) -> None:
    """Save APP, and take the measure of a root it was loaded into."""
    with campaign.fresh_root() as root:
        campaign.pull(root)
        with (
            open_engine(root, campaign.registry.url) as engine,
            gzip.open(campaign.archive, "wb", compresslevel=1) as out,
        ):
            engine.images.save(APP, out)
    with campaign.fresh_root() as root, open_engine(root, campaign.registry.url) as engine:
        engine.images.load(campaign.archive)
        campaign.expected_loaded = snapshot(root)


PULL = Story("pull", _nothing, _after_pull)
REMOVAL = Story("remove", _both_images, _after_removal)
REPAIR = Story("pull", _damaged_layer, _after_repair)


HEALING = Story("repair", _changed_layers, _after_healing)
LOAD = Story("load", _nothing, _after_load)


def _without_history(problems: list[str]) -> list[str]:
    """``distribution/`` remembers blobs of layers that are gone, as Docker's does."""
    return [problem for problem in problems if "image/overlay2: distribution/" not in problem]


@contextmanager
def campaign(work: Path) -> Iterator[Campaign]:
    """Write the samples, serve them, and take the measure of undisturbed runs."""
    layout = write_samples(work / "layout", Path(require("busybox"))).directory
    with counting(layout) as registry:
        made = Campaign(layout, registry, work, ({}, {}), ({}, {}))
        for name, attribute in ((APP, "expected"), (OTHER, "expected_other")):
            with made.fresh_root() as root:
                made.pull(root, name)
                setattr(made, attribute, snapshot(root))
        _write_archive(made)
        yield made


Crash = Callable[[int], tuple[Outcome, list[str]]]


def sample(crash: Crash, calls: int, amount: int) -> list[str]:
    """``amount`` points in the middles of equal parts of a run; all that went wrong."""
    problems = []
    for part in range(amount):
        stop_at = 1 + calls * (2 * part + 1) // (2 * amount)
        problems += _told(stop_at, *crash(stop_at))
    return problems


def sweep(crash: Crash, limit: int) -> list[str]:
    """Every point from the first to the one that no run reaches any more; all that went wrong."""
    problems = []
    for stop_at in range(1, limit):
        outcome, found = crash(stop_at)
        problems += _told(stop_at, outcome, found)
        if not outcome.call:
            assert outcome.status == 0, outcome.output
            return problems
    raise AssertionError(f"a run made more than {limit} calls")


# One lost layer is a hundred differences; the first few tell.
_MOST_PROBLEMS = 4


def _told(stop_at: int, outcome: Outcome, problems: list[str]) -> list[str]:
    call, _, path = outcome.call.partition(" ")
    where = f"{call} …/{'/'.join(path.split('/')[-3:])}" if call else "ran to its end"
    more = [f"and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
    return [f"#{stop_at} {where}: {problem}" for problem in problems[:_MOST_PROBLEMS] + more]

"""One crash after another: run a verb, stop it at a point, look, let the next command run, look again."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from onggi.store.atomic import remove_tree
from tests.crash.checks import Snapshot, snapshot
from tests.crash.child import command, open_engine
from tests.crash.power import Disk, PowerCut
from tests.crash.registry import CountingRegistry, counting
from tests.crash.samples import APP, OTHER, documents, read_document, write_samples
from tests.crash.tracer import Outcome, trace
from tests.peers.processes import require
from tests.peers.registries import Registry, start_registry

__all__ = ["NEVER", "PULL_RATE", "Campaign", "Story", "campaign", "sample", "sweep"]

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
    destination: str = ""
    closing: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def fresh_root(self) -> Iterator[Path]:
        """A data root that is deleted afterwards."""
        root = self.work / "root"
        remove_tree(root)  # immutable files too
        yield root
        remove_tree(root)

    def pull(self, root: Path, name: str = APP) -> None:
        """A pull that must succeed."""
        with open_engine(root, self.registry.url) as engine:
            engine.images.pull(name)

    @property
    def archive(self) -> Path:
        """APP in a compressed docker archive."""
        return self.work / "app.tar.gz"

    @cached_property
    def other_root(self) -> Path:
        """A data root with APP, to sync from."""
        root = self.work / "other"
        self.pull(root)
        return root

    @cached_property
    def _peer(self) -> Registry:
        """docker-registry, to push to."""
        started = start_registry(self.work / "registry", self.work / "storage")
        self.closing.callback(started.process.stop)
        return started

    def new_destination(self) -> str:
        """A name at docker-registry that nobody has pushed to; the one to push to next."""
        number = int(self.destination.rpartition("/")[2] or 0) + 1
        self.destination = f"{self._peer.host}/push/{number}"
        return self.destination

    def command(self, verb: str, root: Path, name: str = APP) -> list[str]:
        """The process that will be killed."""
        if verb in ("load", "sync", "push"):
            where = {"load": "archive", "sync": "other_root", "push": "destination"}[verb]
            return command(verb, root, self.registry.url, str(getattr(self, where)))
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


def _write_archive(campaign: Campaign) -> None:
    """Save APP, and take the measure of a root it was loaded into, uncompressed: no layer is unpacked early."""
    with campaign.fresh_root() as root:
        campaign.pull(root)
        with (
            open_engine(root, campaign.registry.url) as engine,
            gzip.open(campaign.archive, "wb", compresslevel=1) as out,
        ):
            engine.images.save(APP, out)
    plain = campaign.work / "app.tar"
    plain.write_bytes(gzip.decompress(campaign.archive.read_bytes()))
    with campaign.fresh_root() as root, open_engine(root, campaign.registry.url) as engine:
        engine.images.load(plain)
        campaign.expected_loaded = snapshot(root)


@contextmanager
def campaign(work: Path) -> Iterator[Campaign]:
    """Write the samples, serve them, and take the measure of undisturbed runs."""
    layout = write_samples(work / "layout", Path(require("busybox"))).directory
    with counting(layout) as registry, ExitStack() as closing:
        made = Campaign(layout, registry, work, ({}, {}), ({}, {}), closing=closing)
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


def sweep(crash: Crash, limit: int, step: int = 1) -> list[str]:
    """Every (``step``-th) point from the first to one that no run reaches any more; all that went wrong."""
    problems = []
    for stop_at in range(1, limit, step):
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

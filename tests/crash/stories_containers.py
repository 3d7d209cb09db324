"""Containers that are crashed: the command, its supervisor, the runtime or the container's first process.

Each story makes what its verb needs, and names the words of the command line that are traced from
their first call to the last of everything they start. Afterwards the next commands must find
their way by the rule of engine/containers/removal.py, and with the container all of it goes.
"""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onggi
from onggi.engine.containers.container import Container
from onggi.engine.containers.names import ContainerNotFound
from onggi.errors import OnggiError
from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.crash.test_kill import processes_under
from tests.crash.tracer import Outcome, tracing
from tests.peers.busybox import box_layout
from tests.peers.daemon import onggi_environment
from tests.peers.processes import require, wait_until

__all__ = ["CONTAINER_STORIES", "GROUP", "NAME", "ContainerStory", "Yard", "is_consistent", "left_of", "yard"]

NAME = "jar"
_SLEEP = ["sleep", "1000"]
# In a story's words: a control group of the test's own.
GROUP = "GROUP"
# Where the kernel shows control groups, of either version.
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Yard:
    """A data root with an image to run, and where its containers run."""

    engine: onggi.Engine
    root: Path
    exec_root: Path
    config: Path
    output: Path
    group: str

    def words(self, *words: str) -> list[str]:
        """A command of Onggi's."""
        settings = onggi_environment(ONGGI_CONFIG=str(self.config), DOCKER_CONFIG="/nonexistent")
        environment = [f"{name}={value}" for name, value in settings.items()]
        command = [sys.executable, "-m", "onggi", "--data-root", str(self.root)]
        return [require("env"), "-i", *environment, *command, *words]

    def kill(self, story: ContainerStory, stop_at: int) -> tuple[Outcome, list[str]]:
        """Kill whoever makes a call; what is wrong then, and when the container is gone."""
        story.prepare(self)
        before = [self._spoken(words) for words in story.before]
        with tracing(self._spoken(story.words), stop_at, self.output, before) as outcome:
            problems = story.look(self) + self.removed()
        # Whoever was still at it has been killed meanwhile.
        return outcome, problems + self.removed() + story.clear(self) + self.left()

    def _spoken(self, words: Sequence[str]) -> list[str]:
        return self.words(*(self.group if word == GROUP else word for word in words))

    def calls(self, story: ContainerStory) -> int:
        """How many points an undisturbed run has."""
        outcome, problems = self.kill(story, 1_000_000)
        assert outcome.status == 0 and not outcome.call and not problems, (outcome, problems)
        return outcome.counted

    def container(self) -> Container | None:
        """The container, when there is one."""
        try:
            return self.engine.containers.get(NAME)
        except ContainerNotFound:
            return None

    def removed(self) -> list[str]:
        """Remove whatever container there is; what is wrong with that."""
        try:
            for container in self.engine.containers.list(all=True):
                container.remove(force=True)
            self.engine.gc()
        except OnggiError as error:
            return [f"rm -f: {type(error).__name__}: {error}"]
        return []

    def left(self) -> list[str]:
        """What must not be here without containers."""
        # The supervisor of a container that ends by itself may still be at it.
        try:
            wait_until(lambda: not left_of(self), "", timeout_s=5)
        except AssertionError:
            return left_of(self)
        return []


@contextmanager
def yard(work: Path, driver: str) -> Iterator[Yard]:
    """Pull busybox into a new data root of a driver; its containers are ended at the end."""
    layout = box_layout(work / "layout")
    exec_root = work / "run"
    config = work / "daemon.json"
    config.write_text(json.dumps({"exec-root": str(exec_root)}))
    with (
        serving(OCILayout(layout.directory)) as url,
        onggi.open(
            work / "root",
            exec_root=exec_root,
            registry_mirrors=(url,),
            storage_driver=driver,
            config_file=config,
        ) as engine,
    ):
        engine.images.pull("box")
        group = f"/{work.name}-{os.getpid()}"
        made = Yard(engine, work / "root", exec_root, config, work / "output", group)
        try:
            yield made
        finally:
            made.removed()
            for path in _CGROUPS.glob(f"*{group}"):
                path.rmdir()


# --- what must not stay behind ----------------------------------------------------------------


def left_of(place: Yard) -> list[str]:
    """Mounts, processes, control groups, directories and locks of containers that are gone."""
    root, exec_root = place.root, place.exec_root
    (home,) = (path for path in (root / "image").iterdir() if (root / path.name).is_dir())
    layers = {path.read_text() for path in home.glob("layerdb/sha256/*/cache-id")}
    directories = [path for path in (root / home.name).iterdir() if path.name not in layers | {"l"}]
    paths = [
        *directories,
        *home.glob("layerdb/mounts/*"),
        *root.glob("containers/*"),
        *(path for name in ("staging", "trash") for path in root.glob(f"onggi/{name}/*")),
        *(path for kind in ("supervisor", "container") for path in root.glob(f"onggi/locks/{kind}-*")),
        *exec_root.glob("containers/*"),
        *exec_root.glob("runtime/*/*"),
    ]
    found = [
        f"left over: {path}" for path in paths if path.name not in ("container-names", "container-making")
    ]
    return found + _mounts(root, exec_root) + _processes(place)


def _mounts(*places: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    names = ("containers", "overlay2", "erofs", "runtime")
    inside = tuple(f"{place}/{name}/" for place in places for name in names)
    return [f"mounted: {point}" for point in points if point.startswith(inside)]


def _processes(place: Yard) -> list[str]:
    """Those in a container or at one, and control groups of what were containers."""
    problems = [f"group: {path}" for path in glob.glob(f"{_CGROUPS}/*{place.group}/*/")]
    problems += [f"in {place.group}: process {pid}" for pid in processes_in(place.group)]
    for directory in (place.root, place.exec_root):
        problems += [f"below {directory.name}: process {pid}" for pid in processes_under(directory)]
    return problems


def processes_in(group: str) -> list[str]:
    """Processes of a control group and those below it."""
    return [entry.parent.name for entry in Path("/proc").glob("[0-9]*/cgroup") if _mentions(entry, group)]


# --- stories ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ContainerStory:
    """``prepare`` makes what ``words`` are said to; ``look`` runs next commands and tells what is wrong.

    Commands ``before`` are traced too and not stopped, for supervisors that are to be killed by what
    ``words`` make them do. ``clear`` removes what else there is, and tells what stays all the same.
    """

    words: Sequence[str]
    prepare: Callable[[Yard], object]
    look: Callable[[Yard], list[str]]
    before: Sequence[Sequence[str]] = ()
    clear: Callable[[Yard], list[str]] = lambda place: []


def _nothing(place: Yard) -> None:
    return


def _created(place: Yard) -> Container:
    return place.engine.containers.create("box", _SLEEP, name=NAME, host_config={"CgroupParent": place.group})


def is_consistent(place: Yard) -> list[str]:
    """What commands tell agrees with what is, in a moment at the latest; returns what does not."""
    try:
        wait_until(lambda: not _contradictions(place), "", timeout_s=5)
    except AssertionError:
        return _contradictions(place)
    return []


def _contradictions(place: Yard) -> list[str]:
    problems = []
    for container in place.engine.containers.list(all=True):
        state = container.inspect()["State"]
        pids = processes_in(f"{place.group}/{container.id}")
        if state["Running"] != (str(state["Pid"]) in pids) or bool(pids) != state["Running"]:
            problems.append(f"{state['Status']} as process {state['Pid']}, but there are {pids}")
    return problems


def _mentions(entry: Path, text: str) -> bool:
    try:
        return text in entry.read_text()
    except OSError:
        return False


def _starts(place: Yard) -> list[str]:
    """It is there or not, says truly what it is, and can be started, used and stopped."""
    problems = is_consistent(place)
    container = place.container()
    if container is None:
        return problems
    try:
        container.start()
        if container.exec(["echo", "here"]).communicate(timeout_s=30).stdout != b"here\n":
            problems.append("exec says something else")
        container.stop(0)
    except OnggiError as error:
        return [*problems, f"start: {type(error).__name__}: {error}"]
    return problems + ([] if container.status == "exited" else [f"{container.status} after stop"])


def _is_there(place: Yard) -> list[str]:
    return ([] if place.container() else ["the container is gone"]) + _starts(place)


def _thaws(place: Yard) -> list[str]:
    """Paused or not, as it says; it ends all the same."""
    container = place.container()
    if container is None:
        return ["the container is gone"]
    problems = is_consistent(place)
    if container.status == "paused":
        container.unpause()
    return problems + _starts(place)


def _ends(place: Yard) -> list[str]:
    """A container that ends by itself and goes."""
    container = place.container()
    if container is not None:
        try:
            container.wait(timeout_s=30)
        except ContainerNotFound:
            return []
    return is_consistent(place)


_START = ("start", NAME)
_OPTIONS = ("--network", "none", "--cgroup-parent", GROUP, "--name", NAME)

CONTAINER_STORIES = {
    "create": ContainerStory(("create", *_OPTIONS, "box", *_SLEEP), _nothing, _starts),
    "run": ContainerStory(("run", "-d", *_OPTIONS, "box", *_SLEEP), _nothing, _starts),
    "run-to-the-end": ContainerStory(("run", *_OPTIONS, "box", "true"), _nothing, _ends),
    "run-and-remove": ContainerStory(("run", "-d", "--rm", *_OPTIONS, "box", "true"), _nothing, _ends),
    "start": ContainerStory(("start", NAME), _created, _is_there),
    "stop": ContainerStory(("stop", "-t", "0", NAME), _created, _is_there, (_START,)),
    "kill": ContainerStory(("kill", NAME), _created, _is_there, (_START,)),
    "restart": ContainerStory(("restart", "-t", "0", NAME), _created, _is_there, (_START,)),
    "pause": ContainerStory(("pause", NAME), _created, _thaws, (_START,)),
    "unpause": ContainerStory(("unpause", NAME), _created, _thaws, (_START, ("pause", NAME))),
    "exec": ContainerStory(("exec", NAME, "true"), _created, _is_there, (_START,)),
    "rm": ContainerStory(("rm", NAME), _created, _starts),
    "rm-force": ContainerStory(("rm", "-f", NAME), _created, _starts, (_START,)),
}
"""By name."""

"""One of many processes that do what a seed says to one data root, verb after verb.

``python -m tests.crash.verbs SCENE SEED LOG SECONDS`` draws verbs from :data:`VERBS` until the time is
over or somebody kills it. What it draws depends on the seed alone, never on what it finds, so that
a seed stands for the same words whoever runs beside it. ``LOG`` gets a JSON line before and after
each: the words, the error if it was one to be expected, the traceback if not.

``python -m tests.crash.verbs SCENE SEED`` shows the words and does nothing.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random

import onggi
from onggi.engine.layer import LayerNotFound
from onggi.engine.removal import ImageInUse
from onggi.errors import Conflict, NotFound, OnggiError
from tests.crash.child import open_engine
from tests.crash.samples import APP, BUSYBOX, DEEP, MIXED, OTHER, WIDE
from tests.peers.daemon import onggi_environment
from tests.peers.processes import require

__all__ = ["VERBS", "Actor", "Line", "Scene", "Verb", "draw", "read_log"]

Words = tuple[str, ...]

SAMPLES = (APP, OTHER, MIXED, BUSYBOX, DEEP, WIDE)
# Small images are drawn more often: what they share is where processes meet.
_POPULAR = (APP, OTHER, MIXED, BUSYBOX, APP, OTHER, MIXED, BUSYBOX, DEEP, WIDE)
TAGS = ("mine:1", "mine:2", "app:old", "yours")
# Blocks of the data root in bytes that a prune is to leave: nearly nothing, about half of it.
_KEEP_BYTES = ("1000000", "20000000")
# What an engine remembers must not mislead it; what it does not, must be found.
_VERBS_PER_ENGINE = 5
# A verb that takes longer has lost something.
SLOWEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Where the play is. ``host`` takes pushes, ``ids`` are image ids by sample, ``archives`` files to
    load, ``tarball`` one to import, ``targets`` directories to mount on, ``other`` a data root to sync from."""

    root: str
    mirror: str
    host: str
    ids: dict[str, str]
    archives: list[str]
    tarball: str
    targets: list[str]
    other: str
    config: str

    @property
    def moving(self) -> list[str]:
        """Names that mean another image after every push."""
        return [f"{self.host}/moving:{tag}" for tag in ("1", "2")]

    @classmethod
    def load(cls, path: Path) -> Scene:
        return cls(**json.loads(path.read_text()))

    def store(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


@dataclass(frozen=True, slots=True)
class Line:
    """One verb of a log: ``outcome`` is empty for success, else what was expected or, with
    ``unexpected``, what was not. ``took_s`` is None where the process was killed in it."""

    words: Words
    began: float
    took_s: float | None = None
    outcome: str = ""
    unexpected: bool = False


class Unsound(AssertionError):
    """A verb ended well and told of something that must not be."""


class Actor:
    """Does what words say; every method is a verb."""

    def __init__(self, scene: Scene, engine: onggi.Engine) -> None:
        self._scene = scene
        self._engine = engine

    def perform(self, words: Words) -> None:
        """Do it. Raises what the verb raises, and Unsound."""
        getattr(self, words[0].replace("-", "_"))(*words[1:])

    # --- come and go ----------------------------------------------------------------------

    def pull(self, name: str, keep: str) -> None:
        self._engine.images.pull(name, keep_blobs=bool(keep), timeout_s=SLOWEST_S)

    def push(self, name: str) -> None:
        self._engine.images.push(name, timeout_s=SLOWEST_S)

    def save(self, *names: str) -> None:
        self._engine.images.save(list(names), io.BytesIO(), timeout_s=SLOWEST_S)

    def load(self, archive: str) -> None:
        self._engine.images.load(Path(archive), timeout_s=SLOWEST_S)

    def import_(self, tarball: str, name: str) -> None:
        self._engine.images.import_(Path(tarball), name or None)

    def sync(self, *names: str) -> None:
        self._engine.sync_from(self._scene.other, names, timeout_s=SLOWEST_S)

    # --- names ----------------------------------------------------------------------------

    def tag(self, source: str, target: str) -> None:
        self._engine.images.tag(source, target)

    def rollback(self, name: str) -> None:
        self._engine.images.rollback(name)

    def rmi(self, name: str, force: str) -> None:
        self._engine.images.remove(name, force=bool(force))

    def pin(self, name: str) -> None:
        self._engine.images.pin(name)

    def unpin(self, name: str) -> None:
        self._engine.images.unpin(name)

    # --- upkeep ---------------------------------------------------------------------------

    def gc(self, how: str) -> None:
        self._engine.gc(explain=how == "explain", dry_run=how == "dry")

    def image_prune(self, all: str) -> None:
        self._engine.images.prune(all=bool(all))

    def system_prune(self, how: str, value: str) -> None:
        self._engine.system.prune(
            keep_bytes=int(value) if how == "keep" else None,
            until_s=float(value) if how == "until" else None,
            all=how == "all",
        )

    def recover(self) -> None:
        self._engine.system.recover()

    def verify(self, name: str, fast: str) -> None:
        names = [name] if name else []
        found = [
            str(finding) for finding in self._engine.images.verify(*names, all=not name, fast=bool(fast))
        ]
        if found:
            raise Unsound(f"verify: {found}")

    def repair(self, name: str) -> None:
        report = self._engine.images.repair(name, timeout_s=SLOWEST_S)
        if report.lines():
            raise Unsound(f"repair: {report.lines()}")

    # --- looking --------------------------------------------------------------------------

    def mount(self, name: str, target: str) -> None:
        self._engine.mounts.mount(name, target or None)

    def unmount(self, name: str) -> None:
        self._engine.mounts.unmount(name)

    def look(self, name: str) -> None:
        with self._engine.images.get(name).mount() as root:
            self._read(root)

    def _read(self, root: Path) -> None:
        """Somebody may unmount it, or remove its image by force, while we read."""
        try:
            for path in root.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    path.read_bytes()
        except OSError:
            return

    def cat(self, layer: str, path: str) -> None:
        for _ in self._engine.layer(layer).read(path):
            pass

    def walk(self, name: str) -> None:
        for entry in self._engine.images.get(name).walk():
            entry.kind  # noqa: B018

    def diff(self, layer: str) -> None:
        for _ in self._engine.layer(layer).diff():
            pass

    def explain(self, text: str) -> None:
        self._engine.explain_all(text)

    def inspect(self, name: str) -> None:
        image = self._engine.images.get(name)
        image.inspect()
        image.history()

    def list(self) -> None:
        for image in self._engine.images.list(all=True):
            image.size, image.last_used, image.pinned  # noqa: B018

    def df(self, disk: str) -> None:
        self._engine.system.df(disk=bool(disk))

    def doctor(self) -> None:
        self._engine.system.doctor()

    # --- the command line -----------------------------------------------------------------

    def cli(self, *words: str) -> None:
        """A real process; it goes with us when we are killed."""
        command = [require("setpriv"), "--pdeathsig", "KILL", sys.executable, "-m", "onggi"]
        done = subprocess.run(
            [*command, "--data-root", self._scene.root, *words],
            capture_output=True,
            text=True,
            env=onggi_environment(ONGGI_CONFIG=self._scene.config, DOCKER_CONFIG="/nonexistent"),
            timeout=SLOWEST_S,
            check=False,
        )
        text = done.stderr.strip()
        if done.returncode not in (0, 1) or (done.returncode and not _is_expected(text)):
            raise Unsound(f"exit status {done.returncode}: {text[-1500:]}")


# Docker's words for what is not here, or in use.
_EXPECTED_TEXTS = ("No such image", "does not exist", "not mounted", "conflict: unable to", "No such layer")


def _is_expected(text: str) -> bool:
    return "Traceback" not in text and any(part in text for part in _EXPECTED_TEXTS)


# --- what is drawn ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verb:
    """How often a verb is drawn, with what words, and which errors it may end with."""

    weight: int
    words: Callable[[Scene, Random], Words]
    expected: tuple[type[OnggiError], ...] = ()


def _sample(scene: Scene, rng: Random) -> str:
    return rng.choice(_POPULAR)


def _name(scene: Scene, rng: Random) -> str:
    """A sample, or a tag of ours."""
    return rng.choice((_sample(scene, rng), rng.choice(TAGS), rng.choice(scene.moving)))


def _any(scene: Scene, rng: Random) -> str:
    """A name, an id or the beginning of one."""
    image_id = scene.ids[_sample(scene, rng)]
    return rng.choice((_name(scene, rng), _name(scene, rng), image_id, image_id[7:19]))


def _flag(rng: Random) -> str:
    return rng.choice(("", "yes"))


def _system_prune(scene: Scene, rng: Random) -> Words:
    how = rng.choice(("plain", "all", "keep", "until"))
    values = {"keep": _KEEP_BYTES, "until": ("0.1", "3", "3600")}
    return how, rng.choice(values.get(how, ("",)))


def _layer(scene: Scene, rng: Random) -> Words:
    """A file that the layer has, by the image's name or id."""
    name, files = rng.choice(
        ((APP, ("etc/name", "data/noise0", "etc/new")), (OTHER, ("etc/name", "other")), (WIDE, ("noise",)))
    )
    number = rng.randrange(len(files))
    return f"{rng.choice((name, scene.ids[name]))}#{number + 1}", files[number]


def _command(scene: Scene, rng: Random) -> Words:
    name, other = _any(scene, rng), _any(scene, rng)
    commands: tuple[Words, ...] = (
        ("images", "-a", "--digests"),
        ("images", "--format", "{{json .}}"),
        ("image", "inspect", name),
        ("history", name),
        ("layers", name),
        ("rmi", name, other),
        ("image", "prune", "-f"),
        ("system", "df", "-v"),
        ("system", "prune", "-f"),
        ("image", "mount", name),
        ("image", "mount"),
        ("image", "unmount", name),
        ("gc", "--explain"),
        ("pull", "-q", _sample(scene, rng)),
        ("tag", name, rng.choice(TAGS)),
        ("verify", "--fast", name),
    )
    return rng.choice(commands)


VERBS: dict[str, Verb] = {
    "pull": Verb(30, lambda scene, rng: (_sample(scene, rng), rng.choice(("", "", "yes")))),
    "pull-moving": Verb(4, lambda scene, rng: (rng.choice(scene.moving), ""), (NotFound,)),
    "push": Verb(8, lambda scene, rng: (rng.choice(scene.moving),), (NotFound,)),
    "save": Verb(5, lambda scene, rng: (_any(scene, rng), _any(scene, rng)), (NotFound,)),
    "load": Verb(6, lambda scene, rng: (rng.choice(scene.archives),)),
    "import": Verb(2, lambda scene, rng: (scene.tarball, rng.choice(("", *TAGS)))),
    "sync": Verb(4, lambda scene, rng: rng.choice(((), (APP,), (BUSYBOX, APP)))),
    "tag": Verb(
        12,
        lambda scene, rng: (_any(scene, rng), rng.choice((*TAGS, *scene.moving, _sample(scene, rng)))),
        (NotFound,),
    ),
    "rollback": Verb(4, lambda scene, rng: (_name(scene, rng),), (NotFound,)),
    "rmi": Verb(25, lambda scene, rng: (_any(scene, rng), _flag(rng)), (NotFound, ImageInUse)),
    "pin": Verb(3, lambda scene, rng: (_any(scene, rng),), (NotFound,)),
    "unpin": Verb(6, lambda scene, rng: (_any(scene, rng),), (NotFound,)),
    "gc": Verb(8, lambda scene, rng: (rng.choice(("", "", "explain", "dry")),)),
    "image-prune": Verb(4, lambda scene, rng: (_flag(rng),)),
    "system-prune": Verb(4, _system_prune),
    "recover": Verb(2, lambda scene, rng: ()),
    "verify": Verb(5, lambda scene, rng: (rng.choice(("", _any(scene, rng))), "yes"), (NotFound,)),
    "verify-whole": Verb(2, lambda scene, rng: (_any(scene, rng), ""), (NotFound,)),
    "repair": Verb(3, lambda scene, rng: (_any(scene, rng),), (NotFound,)),
    "mount": Verb(
        5, lambda scene, rng: (_any(scene, rng), rng.choice(("", *scene.targets))), (NotFound, Conflict)
    ),
    "unmount": Verb(
        10,
        lambda scene, rng: (rng.choice((_any(scene, rng), _any(scene, rng), *scene.targets)),),
        (NotFound,),
    ),
    "look": Verb(5, lambda scene, rng: (_any(scene, rng),), (NotFound,)),
    "cat": Verb(6, _layer, (NotFound, LayerNotFound)),
    "diff": Verb(3, lambda scene, rng: _layer(scene, rng)[:1], (NotFound,)),
    "explain": Verb(2, lambda scene, rng: (_any(scene, rng),), (NotFound,)),
    "inspect": Verb(3, lambda scene, rng: (_any(scene, rng),), (NotFound,)),
    "walk": Verb(4, lambda scene, rng: (_any(scene, rng),), (NotFound,)),
    "list": Verb(4, lambda scene, rng: ()),
    "df": Verb(3, lambda scene, rng: (_flag(rng),)),
    "doctor": Verb(2, lambda scene, rng: ()),
    "cli": Verb(8, _command),
}
# The same verb with other words and other errors.
_METHODS = {"pull-moving": "pull", "verify-whole": "verify", "import": "import_"}


def draw(scene: Scene, seed: str) -> Iterator[tuple[Verb, Words]]:
    """Verbs and words without end; the same for the same seed."""
    rng = Random(seed)
    weights = [verb.weight for verb in VERBS.values()]
    while True:
        (name,) = rng.choices(list(VERBS), weights)
        yield VERBS[name], (_METHODS.get(name, name), *VERBS[name].words(scene, rng))


# --- the process ------------------------------------------------------------------------------


def read_log(path: Path) -> list[Line]:
    """Every verb of one process, in order; the last one may have been cut short."""
    lines: list[Line] = []
    for text in path.read_text().splitlines():
        try:
            document = json.loads(text)
        except ValueError:
            continue
        line = Line(**{**document, "words": tuple(document["words"])})
        if lines and lines[-1].took_s is None:
            lines.pop()
        lines.append(line)
    return lines


def _play(scene: Scene, seed: str, log: int, until: float) -> None:
    drawn = draw(scene, seed)
    while time.time() < until:
        with open_engine(Path(scene.root), scene.mirror) as engine:
            actor = Actor(scene, engine)
            for verb, words in islice(drawn, _VERBS_PER_ENGINE):
                if time.time() > until:
                    return
                began = time.time()
                _note(log, Line(words, began))
                outcome, unexpected = _outcome(actor, verb, words)
                _note(log, Line(words, began, time.time() - began, outcome, unexpected))


def _outcome(actor: Actor, verb: Verb, words: Words) -> tuple[str, bool]:
    try:
        actor.perform(words)
    except verb.expected as error:
        return f"{type(error).__name__}: {error.message}", not error.message
    except BaseException:
        return traceback.format_exc(), True
    return "", False


def _note(log: int, line: Line) -> None:
    os.write(log, json.dumps(asdict(line)).encode() + b"\n")


def main(words: list[str]) -> None:
    scene, seed = Scene.load(Path(words[0])), words[1]
    if len(words) == 2:
        for _, drawn in islice(draw(scene, seed), 100):
            print(*drawn)
        return
    # SIGUSR1 shows where every thread stands, to find out who waits for whom.
    faulthandler.register(signal.SIGUSR1)
    log = os.open(words[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    _play(scene, seed, log, time.time() + float(words[3]))


if __name__ == "__main__":
    main(sys.argv[1:])

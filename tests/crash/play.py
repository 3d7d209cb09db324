"""Many processes with random verbs on one data root, some of them stopped for a while, some killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.crash.child import open_engine
from tests.crash.registry import counting
from tests.crash.samples import APP, BUSYBOX, DEEP, MIXED, OTHER, documents, write_samples
from tests.crash.verbs import SAMPLES, SLOWEST_S, Line, Scene, read_log
from tests.peers.images import member, tar
from tests.peers.processes import require
from tests.peers.registries import start_registry

__all__ = ["Play", "scene"]

# Seconds that a process is left alone, on an average.
_UNDISTURBED_S = 8.0
# Seconds that a process is stopped at most: others overtake it in the middle of something.
_LONGEST_PAUSE_S = 2.0
# Of the disturbances, how many kill.
_KILLS = 0.6
# Seconds after the end in which everybody must be through with the last verb.
_PATIENCE_S = 2 * SLOWEST_S


@contextmanager
def scene(work: Path) -> Iterator[Scene]:
    """docker-registry with the samples, archives of some, a data root to sync from, an empty one to play on."""
    layout = write_samples(work / "layout", Path(require("busybox"))).directory
    registry = start_registry(work / "registry", work / "storage")
    try:
        for name in SAMPLES:
            _copy(layout, name, registry.host)
        config = work / "daemon.json"
        config.write_text(json.dumps({"registry-mirrors": [registry.url]}))
        targets = [work / f"target{number}" for number in range(3)]
        for target in targets:
            target.mkdir()
        with counting(layout) as hub:
            archives = _write_archives(work, hub.url)
        ids = {name: documents(layout, name)[0]["config"]["digest"] for name in SAMPLES}
        yield Scene(
            root=str(work / "root"),
            mirror=registry.url,
            host=registry.host,
            ids=ids,
            archives=archives,
            tarball=_write_tarball(work / "tree.tar"),
            targets=[str(target) for target in targets],
            other=str(work / "other"),
            config=str(config),
        )
    finally:
        registry.process.stop()


def _copy(layout: Path, name: str, host: str) -> None:
    source, target = f"oci:{layout}:docker.io/library/{name}:latest", f"docker://{host}/library/{name}:latest"
    command = [require("skopeo"), "--insecure-policy", "copy", "-q", "--dest-tls-verify=false"]
    subprocess.run([*command, source, target], check=True)


def _write_archives(work: Path, mirror: str) -> list[str]:
    """Archives of one image and of several, both made in the data root to sync from."""
    archives = {"one.tar": [BUSYBOX], "some.tar": [OTHER, MIXED, APP], "others.tar": [APP, MIXED, DEEP]}
    with open_engine(work / "other", mirror) as engine:
        for name in (APP, OTHER, MIXED, BUSYBOX, DEEP):
            engine.images.pull(name)
        for file, names in archives.items():
            engine.images.save(names, work / file)
    return [str(work / file) for file in archives]


def _write_tarball(path: Path) -> str:
    path.write_bytes(tar([member("etc/", None), member("etc/name", b"imported")]))
    return str(path)


class _Player:
    """One of the processes, and those that take its place when it is killed."""

    def __init__(self, index: int, scene_file: Path, work: Path, seed: int, end: float) -> None:
        self.logs: list[Path] = []
        self._name = f"{seed}-{index}"
        self._scene_file = scene_file
        self._work = work
        self._end = end
        self._resume_at = 0.0
        self._popen = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        seed = f"{self._name}-{len(self.logs)}"
        self.logs.append(self._work / f"{seed}.log")
        self.logs[-1].touch()
        words = [str(self._scene_file), seed, str(self.logs[-1]), str(max(0.0, self._end - time.time()))]
        with open(self._errors, "wb") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.crash.verbs", *words], stdout=errors, stderr=errors
            )

    @property
    def _errors(self) -> Path:
        return self.logs[-1].with_suffix(".err")

    def replace(self) -> None:
        """Kill it, and let another go on with other words."""
        self._popen.kill()
        self._popen.wait()
        self._resume_at = 0.0
        self._popen = self._start()

    def pause(self, until: float) -> None:
        """Stop it in the middle of whatever it does; others overtake it."""
        self._popen.send_signal(signal.SIGSTOP)
        self._resume_at = until

    def resume(self, now: float) -> None:
        """Let it go on if its time has come."""
        if 0 < self._resume_at <= now:
            self._popen.send_signal(signal.SIGCONT)
            self._resume_at = 0.0

    def finish(self) -> list[str]:
        """Wait for the end; what went wrong in all of them."""
        problems = []
        try:
            self._popen.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._popen.send_signal(signal.SIGUSR1)
            time.sleep(1)
            self._popen.kill()
            self._popen.wait()
            problems.append(f"{self.logs[-1].name} never ends: {self._errors.read_text()}")
        if self._popen.returncode and not problems:
            problems.append(
                f"{self.logs[-1].name} ended with {self._popen.returncode}: {self._errors.read_text()}"
            )
        return problems


class Play:
    """Processes of one seed; :meth:`run` it once."""

    def __init__(self, scene: Scene, work: Path, seed: int, processes: int, seconds: float) -> None:
        work.mkdir()
        self._scene_file = work / "scene.json"
        scene.store(self._scene_file)
        self._work = work
        self._seed = seed
        self._count = processes
        self._seconds = seconds
        self._players: list[_Player] = []

    def run(self) -> list[str]:
        """What went wrong while it was played."""
        end = time.time() + self._seconds
        self._players = [
            _Player(index, self._scene_file, self._work, self._seed, end) for index in range(self._count)
        ]
        self._disturb(end)
        problems = [problem for player in self._players for problem in player.finish()]
        return problems + [
            f"{log.name}: {' '.join(line.words)}: {line.outcome}"
            for log, line in self._lines()
            if line.unexpected
        ]

    def _disturb(self, end: float) -> None:
        rng = Random(f"{self._seed}/disturbances")
        while (now := time.time()) < end:
            for player in self._players:
                player.resume(now)
            player, kill, pause_s = (
                rng.choice(self._players),
                rng.random(),
                rng.uniform(0.05, _LONGEST_PAUSE_S),
            )
            if kill < _KILLS:
                player.replace()
            else:
                player.pause(now + pause_s)
            time.sleep(rng.expovariate(self._count / _UNDISTURBED_S))
        for player in self._players:
            player.resume(float("inf"))

    def _lines(self) -> Iterator[tuple[Path, Line]]:
        for player in self._players:
            for log in player.logs:
                for line in read_log(log):
                    yield log, line

    def account(self) -> str:
        """How much was played: each verb as often as it succeeded of how often it was tried."""
        lines = [line for _, line in self._lines()]
        tried = Counter(line.words[0] for line in lines)
        well = Counter(line.words[0] for line in lines if line.took_s is not None and not line.outcome)
        verbs = ", ".join(f"{verb} {well[verb]}/{tried[verb]}" for verb in sorted(tried))
        killed = sum(line.took_s is None for line in lines)
        slowest = max(lines, key=lambda line: line.took_s or 0.0)
        slow = f"slowest {slowest.took_s or 0.0:.1f} s: {' '.join(slowest.words)}"
        return f"seed {self._seed}: {len(lines)} verbs, {killed} cut short; {slow}; {verbs}"

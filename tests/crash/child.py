"""What is killed: one verb on one data root, in a process of its own.

``python -m tests.crash.child VERB DATA_ROOT MIRROR NAME [BYTES_PER_S | UNTIL]``, where VERB is
``pull``, ``remove``, ``repair``, ``push``, ``mount``, ``unmount``, ``load`` (NAME is an archive), ``sync``
(NAME is a data root), ``gc``, ``prune`` (what was used last an hour ago), ``convert`` (to erofs),
``convert-back`` (to overlay2), or one of them again and
again: ``pull-until``, ``remove-until`` (a Unix time).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import onggi
from onggi.errors import NotFound
from tests.crash.samples import APP

__all__ = ["LONG_AGO", "command", "open_engine"]

# A time in the past, for what is removed by its age.
LONG_AGO = 1_000_000_000


def command(verb: str, data_root: Path, mirror: str, name: str, rate: int | None = None) -> list[str]:
    """The command line of such a process."""
    words = [sys.executable, "-m", "tests.crash.child", verb, str(data_root), mirror, name]
    return words if rate is None else [*words, str(rate)]


def open_engine(data_root: Path, mirror: str) -> onggi.Engine:
    """An engine that sees the tests' registry as Docker Hub and nothing of the user's settings.

    Storage options come from the environment, so that who is killed has those of who looks.
    """
    config = onggi.Config(
        data_root=data_root,
        storage_opts=tuple(filter(None, os.environ.get("ONGGI_STORAGE_OPTS", "").split(","))),
        registry_mirrors=(mirror,),
        docker_config_dir=Path("/nonexistent"),
        certs_dirs=(),
        max_download_attempts=1,
    )
    return onggi.open(config=config)


def main(words: Sequence[str]) -> None:
    verb, data_root, mirror, name, *rest = words
    with open_engine(Path(data_root), mirror) as engine:
        if verb == "pull":
            engine.images.pull(name, limit_rate_bytes_per_s=int(rest[0]) if rest else None)
        elif verb in _VERBS:
            _VERBS[verb](engine, name)
        else:
            _again_and_again(engine, verb, name, float(rest[0]))


_VERBS: dict[str, Callable[[onggi.Engine, str], object]] = {
    "remove": lambda engine, name: engine.images.remove(name),
    "repair": lambda engine, name: engine.images.repair(name),
    "push": lambda engine, name: engine.images.push(name),
    "load": lambda engine, name: engine.images.load(Path(name)),
    "sync": lambda engine, name: engine.sync_from(name, [APP]),
    "mount": lambda engine, name: engine.mounts.mount(name),
    "unmount": lambda engine, name: engine.mounts.unmount(name),
    "gc": lambda engine, name: engine.gc(),
    "convert": lambda engine, name: engine.convert_storage("erofs"),
    "convert-back": lambda engine, name: engine.convert_storage("overlay2"),
    "prune": lambda engine, name: engine.system.prune(until_s=3600),
}


def _again_and_again(engine: onggi.Engine, verb: str, name: str, until: float) -> None:
    turns = 0
    while time.time() < until:
        turns += 1
        if verb == "pull-until":
            engine.images.pull(name)
        else:
            _remove_if_there(engine, name)
    assert turns > 1, turns


def _remove_if_there(engine: onggi.Engine, name: str) -> None:
    try:
        engine.images.remove(name)
    except NotFound:
        time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1:])

"""What is killed: one verb on one data root, in a process of its own.

``python -m tests.crash.child pull|remove|recover DATA_ROOT MIRROR NAME [BYTES_PER_S]``
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import onggi

__all__ = ["command", "open_engine"]


def command(verb: str, data_root: Path, mirror: str, name: str, rate: int | None = None) -> list[str]:
    """The command line of such a process."""
    words = [sys.executable, "-m", "tests.crash.child", verb, str(data_root), mirror, name]
    return words if rate is None else [*words, str(rate)]


def open_engine(data_root: Path, mirror: str) -> onggi.Engine:
    """An engine that sees the tests' registry as Docker Hub and nothing of the user's settings."""
    config = onggi.Config(
        data_root=data_root,
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
        elif verb == "remove":
            engine.images.remove(name)
        elif verb == "recover":
            engine.system.recover()
        else:
            raise ValueError(verb)


if __name__ == "__main__":
    main(sys.argv[1:])

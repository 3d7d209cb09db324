"""Other implementations' commands, and file systems of one's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.peers.processes import require

__all__ = ["Tool"]

MakeFileSystem = Callable[..., Path]


class Tool:
    """A command with some words always in front; sees nothing of the user's configuration."""

    def __init__(self, home: Path, *words: str) -> None:
        self._home = home
        self._words = [require(words[0]), *words[1:]]

    def run(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it; it must succeed unless ``check`` is off."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._home), "LANG": "C.UTF-8"}
        command = [*self._words, *(str(word) for word in words)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done

    def output(self, *words: str | Path) -> str:
        """Standard output of a command that must succeed."""
        return self.run(*words).stdout


@pytest.fixture
def skopeo(tmp_path: Path) -> Tool:
    """skopeo, taking images whoever signed them."""
    return Tool(tmp_path, "skopeo", "--insecure-policy")


@pytest.fixture
def umoci(tmp_path: Path) -> Tool:
    """umoci."""
    return Tool(tmp_path, "umoci")


@pytest.fixture
def ext4_loop(tmp_path: Path) -> Iterator[MakeFileSystem]:
    """Make fresh ext4 file systems: ``ext4_loop(size_bytes, "-N", "64") -> mount point``.

    Further words are mke2fs's. Seen by this test run only; gone after the test, whatever
    the test leaves open in them.
    """
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("loop devices are not available here")
    mounted: list[Path] = []

    def make(size_bytes: int, *options: str) -> Path:
        image, point = (tmp_path / f"ext4-{len(mounted)}{end}" for end in (".img", ""))
        with open(image, "wb") as file:
            file.truncate(size_bytes)
        subprocess.run([require("mkfs.ext4"), "-q", "-m", "0", *options, str(image)], check=True)
        point.mkdir()
        subprocess.run([require("mount"), "-o", "loop", str(image), str(point)], check=True)
        mounted.append(point)
        return point

    yield make
    for point in reversed(mounted):
        subprocess.run([require("umount"), "--lazy", str(point)], check=True)

"""Where the tour happens: a data root of its own, commands echoed and run, promises checked."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from demo.terminal import run_in_terminal

__all__ = ["BrokenPromise", "Stage", "say"]

_WIDTH = 100


def say(text: str) -> None:
    """A line for the reader, at once."""
    print(text, flush=True)  # noqa: T201


class BrokenPromise(Exception):
    """A step did not show what it promised."""


@dataclass
class Stage:
    """A temporary place. ``home`` holds everything: configuration, data root, mounts."""

    home: Path
    mirror: str
    environment: dict[str, str] = field(init=False)
    directory: Path = field(init=False)
    """Where the next command runs."""

    def __post_init__(self) -> None:
        self.directory = self.home
        config = self.home / "daemon.json"
        config.write_text(f'{{"registry-mirrors": ["{self.mirror}"]}}\n')
        scripts = os.path.dirname(sys.executable)
        self.environment = {
            "PATH": f"{scripts}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "ONGGI_CONFIG": str(config),
            "ONGGI_DATA_ROOT": str(self.data_root),
            "ONGGI_EXEC_ROOT": str(self.home / "run"),
        }

    @property
    def data_root(self) -> Path:
        """What Docker calls its root directory, of this tour."""
        return self.home / "onggi"

    @property
    def layerdb(self) -> Path:
        """The directory of the layers' metadata."""
        return self.data_root / "image/overlay2/layerdb/sha256"

    def tell(self, text: str) -> None:
        """A few words before a step, which begins in ``home`` again."""
        self.directory = self.home
        say("\n" + textwrap.fill(" ".join(text.split()), _WIDTH) + "\n")

    def enter(self, directory: Path) -> None:
        """Change the working directory of the commands that follow, in sight."""
        say(f"$ cd {directory}")
        self.directory = directory

    def run(self, command: str, *, fails: bool = False) -> str:
        """Show and run a shell command; its output. It must succeed, or with ``fails`` must not."""
        say(f"$ {command}")
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        say(done.stdout.removesuffix("\n"))
        if (done.returncode != 0) is not fails:
            raise BrokenPromise(f"`{command}` ended with {done.returncode}")
        return done.stdout

    def run_in_terminal(self, command: str) -> str:
        """The same in a terminal, where progress and columns are drawn; what stands there at the end."""
        say(f"$ {command}")
        code, shown = run_in_terminal(["/bin/sh", "-c", f"exec {command}"], self.directory, self.environment)
        if code != 0:
            raise BrokenPromise(f"`{command}` ended with {code}")
        return shown

    def promise(self, kept: bool, words: str) -> None:
        """Check what the step was to show; ``words`` say it as a fact."""
        if not kept:
            raise BrokenPromise(words)
        say(f"  ✓ {words}")

    def equal(self, found: object, expected: object, words: str) -> None:
        """A promise whose two sides are worth seeing when they differ."""
        if found != expected:
            raise BrokenPromise(f"{words}\n  expected: {expected!r}\n  found:    {found!r}")
        self.promise(True, words)

"""The command line as a user without any right, on a data root of his own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onggi
from tests.peers.daemon import onggi_environment
from tests.peers.processes import require

__all__ = ["NOBODY", "Nobody", "nobody"]

NOBODY = 65534


class Nobody:
    """Runs ``onggi`` as user ``nobody``; ``home`` is a directory of his, ``data_root`` is in it.

    Each command has a mount namespace of its own, in which directories that hide this
    interpreter, its packages or the sources from others (``/root``, say) do not.
    """

    def __init__(self, home: Path, config: Path) -> None:
        self.home = home
        self.data_root = home / "root"
        self._config = config

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = onggi_environment(ONGGI_CONFIG=str(self._config), HOME=str(self.home))
        drop = [require("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
        command = [*drop, sys.executable, "-m", "onggi", "--data-root", str(self.data_root), *words]
        script = f"set -e\n{_uncovered(self.home.parent)}umask 022\nexec {shlex.join(command)}"
        done = subprocess.run(
            [require("unshare"), "--mount", "sh", "-c", script],
            capture_output=True,
            text=True,
            env=environment,
            cwd=self.home,
            check=False,
        )
        assert not check or done.returncode == 0, f"onggi {' '.join(words)}: {done.stderr}{done.stdout}"
        return done

    def output(self, *words: str) -> str:
        return self.run(*words).stdout


def _uncovered(public: Path) -> str:
    """Shell commands that let everybody reach what this interpreter consists of."""
    needed = {Path(path).resolve() for path in (sys.base_prefix, sys.prefix, sysconfig.get_path("platlib"))}
    needed.add(Path(onggi.__file__).resolve().parents[1])
    lines = []
    covers = sorted({cover for path in needed if (cover := _cover(path)) is not None})
    for number, cover in enumerate(covers):
        hidden = public / f"hidden{number}"
        lines.append(f"mkdir -p {hidden}; mount --rbind {cover} {hidden}")
        lines.append(f"mount -t tmpfs -o mode=755 none {cover}")
        for path in sorted(path for path in needed if cover in path.parents):
            lines.append(f"mkdir -p {path}; mount --bind {hidden}/{path.relative_to(cover)} {path}")
    return "".join(f"{line}\n" for line in lines)


def _cover(path: Path) -> Path | None:
    """The topmost directory on the way to ``path`` that others may not pass."""
    return next((each for each in reversed(path.parents) if not each.stat().st_mode & 0o001), None)


@contextmanager
def nobody(config: str) -> Iterator[Nobody]:
    """A home for the length of a block; ``config`` is the text of a ``daemon.json``."""
    public = Path(tempfile.mkdtemp(prefix="onggi-nobody-"))
    public.chmod(0o755)
    home, settings = public / "home", public / "daemon.json"
    settings.write_text(config)
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    try:
        yield Nobody(home, settings)
    finally:
        shutil.rmtree(public)

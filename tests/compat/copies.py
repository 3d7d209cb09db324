"""Calls of ``cp``, to be made on either engine, and what they leave."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi

__all__ = ["COPIES", "made_tree", "played", "source_tree"]

# In order: each sees what those before it left. C is the container, S the source tree, O an empty directory.
COPIES = """
S/f C:/tmp | S/f C:/tmp/g | S/f C:/tmp/nodir/ | S/f C:/nodir/x | S/dir C:/tmp | S/dir C:/tmp/newd
S/dir C:/tmp/newd | S/dir/. C:/tmp/newe | S/dir/. C:/tmp/newe | S/dir C:/tmp/f | S/f C:/tmp/dir/
S/f C:/tmp/f/ | S/nope C:/tmp | S/f/ C:/tmp | C:/tmp/nope O | C:/tmp/dir O/a/b | C:/tmp/f S/f/x
S/ln C:/tmp/ln1 | -L S/ln C:/tmp/ln2 | S/lnd C:/tmp/lnd1 | S/lnd/ C:/tmp/lnd2 | S/lnd/. C:/tmp/lnd3
S/f nobody:/tmp | S/f S/g | C:/a C:/b | - C:/tmp/f | - C:/tmp/nodir | -q S/f C:/tmp | S/dang C:/tmp
-L S/dang C:/tmp/x | S/f C:tmp/rel | S/f C:/tmp/lnd1/x | S/dir C:/tmp/ln1 | -a S/dir C:/tmp/arch
S/dir/b C:/tmp/lnd2/sub/../bb | S/dir C:/tmp/lnd2/b | S/f C:/tmp/lnd2/sub | S/f C:/tmp/up/../../tmp/u
S/file C:/tmp/kinds | S/kinds C:/tmp | S/lnk C:/tmp/lnk | S/kinds/. C:/tmp
C:/tmp/dir O | C:/tmp/dir O/new | C:/tmp/dir/. O/new2 | C:/tmp/f O/ff | C:/tmp/f O/no/ | C:/tmp/ln1 O
-L C:/tmp/ln1 O/l2 | C:/tmp/lnd1 O | C:/tmp/lnd1/ O/l3 | -L C:/tmp/lnd1 O/l4 | C:/tmp/f O/new | C:/tmp/dir O/ff
C:/tmp/f O/dangling | C:/home/ O | C:tmp/f O/rel | C:/tmp/kinds O/k | C:/etc/passwd/../group O
""".replace("\n", " | ")


def source_tree(directory: Path) -> Path:
    """Files of every kind, with times, owners and modes."""
    (directory / "dir/sub").mkdir(parents=True)
    (directory / "kinds/dir").mkdir(parents=True)
    (directory / "f").write_text("f")
    (directory / "file").write_text("file")
    (directory / "dir/b").write_text("b" * 5000)
    os.link(directory / "dir/b", directory / "dir/again")
    (directory / "kinds/dir/ü").write_text("u")
    os.mkfifo(directory / "kinds/pipe")
    os.mknod(directory / "kinds/null", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    for name, target in (("ln", "f"), ("lnd", "dir"), ("dang", "nowhere"), ("lnk", "kinds")):
        (directory / name).symlink_to(target)
    os.chown(directory / "dir/b", 5, 6)
    # Not the one with two names: Docker loses its setuid bit.
    (directory / "dir/s").write_text("s")
    os.chown(directory / "dir/s", 5, 6)
    os.chmod(directory / "dir/s", 0o4750)
    for path in sorted(directory.rglob("*"), reverse=True):
        os.utime(path, (10**9, 10**9), follow_symlinks=False)
    return directory


def played(
    engine: Onggi | Daemon, container: str, source: Path, out: Path, step: int
) -> list[tuple[str, int, str]]:
    """Each ``step``-th call, its exit status, and the first line it said."""
    (out / "dangling").symlink_to("nowhere")
    said = []
    for call in list(filter(None, map(str.strip, COPIES.split("|"))))[::step]:
        words = [_word(word, container, source, out) for word in call.split()]
        done = engine.run("cp", *words, check=False)
        said.append((call, done.returncode, _plain(done.stderr, container, source, out)))
    return said


def _word(word: str, container: str, source: Path, out: Path) -> str:
    word = re.sub(r"^C:", f"{container}:", word)
    return re.sub(r"^S(?=/|$)", str(source), re.sub(r"^O(?=/|$)", str(out), word))


def _plain(text: str, container: str, source: Path, out: Path) -> str:
    lines = [line for line in text.splitlines() if "level=error" not in line]
    line = lines[0] if lines else ""
    # The second is what dockerd's helper process adds.
    for prefix in ("Error response from daemon: ", "Error processing tar file(exit status 1): ", "Error: "):
        line = line.removeprefix(prefix)
    line = re.sub(r" \((?:'|leave|a file|remove|copy to|onggi).*\)$", "", line)
    line = re.sub(r" \(/.* is none\)$", "", line)
    return line.replace(str(source), "S").replace(str(out), "O").replace(container, "C")


def made_tree(root: Path) -> dict[str, tuple[object, ...]]:
    """What a directory holds; times of directories that were made on the way aside."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        content = os.readlink(path) if path.is_symlink() else content
        time = status.st_mtime_ns if status.st_mtime_ns == 10**18 else "other"
        facts = (status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_rdev, time, content)
        found[str(path.relative_to(root))] = facts
    return found

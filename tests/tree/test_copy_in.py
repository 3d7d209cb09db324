"""Unpacking into a tree that somebody else is changing."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from onggi.tree.copy_in import CannotOverwrite, CopyRules, unpack_into

KEEP = CopyRules(chown=False)


def archive(*members: tuple[str, bytes | None] | tarfile.TarInfo) -> bytes:
    """Files by name and content, directories with none."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as packed:
        for each in members:
            if isinstance(each, tarfile.TarInfo):
                packed.addfile(each)
                continue
            info = tarfile.TarInfo(each[0])
            info.type = tarfile.DIRTYPE if each[1] is None else tarfile.REGTYPE
            info.mode, info.mtime, info.size = 0o755, 10**9, len(each[1] or b"")
            packed.addfile(info, io.BytesIO(each[1] or b""))
    return out.getvalue()


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Path]:
    """A root beside which nothing may change."""
    (tmp_path / "secret").write_text("untouched")
    (tmp_path / "root/tmp").mkdir(parents=True)
    yield tmp_path / "root"
    assert (tmp_path / "secret").read_text() == "untouched"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "secret"]


def unpack(root: Path, data: bytes, directory: bytes = b"/tmp", rules: CopyRules = KEEP) -> None:
    fd = os.open(root, os.O_RDONLY)
    try:
        unpack_into([data], fd, directory, rules)
    finally:
        os.close(fd)


def test_links_lead_nowhere_else(inside: Path) -> None:
    (inside / "tmp/abs").symlink_to("/")
    (inside / "tmp/up").symlink_to("../../../..")
    link = tarfile.TarInfo("made")
    link.type, link.linkname = tarfile.SYMTYPE, "../../../secret"
    unpack(inside, archive(("abs/one", b"1"), ("up/two", b"2"), ("../../three", b"3"), link, ("made", b"4")))
    assert [(inside / name).read_text() for name in ("one", "two", "tmp/three", "tmp/made")] == list("1234")
    assert not (inside / "tmp/made").is_symlink()


def test_directories_and_others_do_not_replace_each_other(inside: Path) -> None:
    (inside / "tmp/dir").mkdir()
    (inside / "tmp/file").write_bytes(b"")
    with pytest.raises(
        CannotOverwrite, match='cannot overwrite directory "/tmp/dir" with non-directory "/tmp"'
    ):
        unpack(inside, archive(("dir", b"x")))
    with pytest.raises(
        CannotOverwrite, match='cannot overwrite non-directory "/tmp/file" with directory "/tmp"'
    ):
        unpack(inside, archive(("file", None)))


def test_metadata(inside: Path) -> None:
    info = tarfile.TarInfo("pipe")
    info.type, info.mode, info.uid, info.gid, info.mtime = tarfile.FIFOTYPE, 0o640, 7, 8, 5
    unpack(inside, archive(("d", None), ("d/f", b"f"), info), rules=CopyRules())
    status = (inside / "tmp/pipe").lstat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime) == (0o640, 7, 8, 5)
    assert (inside / "tmp/d").stat().st_mtime == 10**9
    unpack(inside, archive(("owned", b"")), rules=CopyRules(owner=(3, 4)))
    status = (inside / "tmp/owned").lstat()
    assert (status.st_uid, status.st_gid) == (3, 4)


def test_a_hostile_process_swaps_directories_and_links(inside: Path) -> None:
    """CVE-2018-15664: whatever is swapped meanwhile, all lands below the root."""
    outside = inside.parent
    (inside / "tmp/real/deep").mkdir(parents=True)
    stop = threading.Event()

    def swap() -> None:
        real, link = inside / "tmp/real", inside / "tmp/link"
        while not stop.is_set():
            link.symlink_to("../" * 20 + str(outside))
            os.rename(real, inside / "tmp/aside")
            with suppress(OSError):
                os.rename(link, real)
            link.unlink(missing_ok=True)
            # What was unpacked meanwhile made a directory of that name.
            real.unlink() if real.is_symlink() else shutil.rmtree(real, ignore_errors=True)
            with suppress(OSError):
                os.rename(inside / "tmp/aside", real)
            shutil.rmtree(inside / "tmp/aside", ignore_errors=True)
            real.mkdir(exist_ok=True)

    thread = threading.Thread(target=swap)
    thread.start()
    data = archive(*((f"real/deep/f{number}", b"x") for number in range(20)), ("real/secret", b"overwritten"))
    landed = 0
    try:
        for _ in range(150):
            try:
                unpack(inside, data)
                landed += 1
            except (OSError, CannotOverwrite):
                continue  # caught in between: refused, and nothing else
    finally:
        stop.set()
        thread.join()
    assert landed
    # Where the link led to inside the root, files may be: the root was its "/".
    assert {path.name for path in outside.iterdir()} == {"root", "secret"}

"""The merged view against the kernel's overlayfs: the same stacks, mounted."""

from __future__ import annotations

import errno
import os
import random
import stat
from pathlib import Path

import pytest

from onggi.tree.differences import differences
from onggi.tree.merged import Merged
from tests.tree.stacks import mounted, opened, seen_by_kernel, stack


def seen_by_us(view: Merged) -> dict[str, tuple[object, ...]]:
    found = {}
    for entry in view.walk(view.root):
        content: object = None
        if stat.S_ISREG(entry.status.st_mode):
            with view.open(entry) as file:
                content = file.read()
        elif entry.is_link:
            content = os.fsdecode(view.readlink(entry))
        status = entry.status
        found[os.fsdecode(entry.path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
    found.pop("")
    return found


@pytest.mark.parametrize("seed", range(12))
def test_the_kernel_sees_the_same_tree(tmp_path: Path, seed: int) -> None:
    layers = stack(tmp_path, seed, 2 + seed % 4)
    with mounted(tmp_path / "m", layers) as root, opened(layers) as trees:
        view = Merged(trees)
        assert seen_by_us(view) == seen_by_kernel(root)


def test_an_opaque_root_hides_nothing_as_in_the_kernel(tmp_path: Path) -> None:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    for layer in (upper, lower):
        layer.mkdir()
        (layer / layer.name).write_text("x")
    os.setxattr(upper, "trusted.overlay.opaque", b"y")
    layers = [upper, lower]
    with mounted(tmp_path / "m", layers) as root, opened(layers) as trees:
        view = Merged(trees)
        assert seen_by_us(view) == seen_by_kernel(root)


@pytest.mark.parametrize("seed", range(4))
def test_links_resolve_as_in_a_chroot(tmp_path: Path, seed: int) -> None:
    layers = stack(tmp_path, seed, 3)
    paths = [b"/".join(random.Random(n).choices([b"a", b"b", b"c", b"..", b"."], k=4)) for n in range(60)]
    with mounted(tmp_path / "m", layers) as root, opened(layers) as trees:
        view = Merged(trees)
        for path in paths:
            assert ours(view, path) == chrooted(root, path), path


def ours(view: Merged, path: bytes) -> object:
    try:
        entry = view.resolve(path)
    except OSError as error:
        return error.errno
    return b"/" + entry.path


def chrooted(root: Path, path: bytes) -> object:
    """Where the kernel comes to, in a child with ``root`` as its root directory."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chroot(root)
            os.chdir("/")
            os.close(os.open(path, os.O_PATH))
            os.write(write, b"+" + os.path.realpath(path))
        except OSError as error:
            os.write(write, b"-%d" % (error.errno or 0))
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return -int(answer) if answer[:1] == b"-" else answer[1:]


def test_nothing_leads_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    layer = tmp_path / "layer"
    (layer / "sub").mkdir(parents=True)
    (layer / "secret").write_text("inside")
    (layer / "absolute").symlink_to("/secret")
    (layer / "sub" / "up").symlink_to("../../../../secret")
    (layer / "sub" / "out").symlink_to("../..")
    (layer / "round").symlink_to("round")
    with opened([layer]) as trees:
        view = Merged(trees)
        for path in (b"absolute", b"sub/up", b"sub/out/secret", b"../../secret", b"sub/../../secret"):
            with view.open(view.resolve(path)) as file:
                assert file.read() == b"inside", path
        with pytest.raises(OSError) as caught:
            view.resolve(b"round")
        assert caught.value.errno == errno.ELOOP
        with pytest.raises(OSError) as caught:
            view.resolve(b"secret/")
        assert caught.value.errno == errno.ENOTDIR


def test_a_path_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    fd = os.open(layer, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("n" * 200, dir_fd=fd)
        inner = os.open("n" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("end", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    with opened([layer]) as trees:
        view = Merged(trees)
        entries = list(view.walk(view.root))
        assert len(entries) == 32
        assert entries[-1].name == b"end"
        changes = list(differences(None, view))
        assert [change.kind for change in changes] == ["A"] * 31

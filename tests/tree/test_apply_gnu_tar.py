"""What GNU tar extracts is what we unpack: of trees that it packed itself, and of real layers."""

import hashlib
import io
import os
import stat
import subprocess

import pytest

from onggi.archive.compression import Compression, decompressed, sniff
from onggi.archive.tar import TarReader
from onggi.archive.tarsplit import TarSplitReader, assemble
from onggi.archive.tarsplit_writer import TarSplitWriter
from onggi.tree.apply import apply_layer
from onggi.tree.files import Files
from onggi.tree.size import tree_size
from onggi.tree.whiteout import OPAQUE_MARKER, PREFIX
from tests.peers.fixtures import shared_registry
from tests.tree.trees import snapshot


def real_layers():
    """Blobs of a docker-registry storage that are layers, where there is one."""
    registry = shared_registry()
    if registry is None:
        return []
    blobs = sorted(registry.glob("docker/registry/v2/blobs/sha256/*/*/data"))
    return [blob for blob in blobs if blob.read_bytes()[:1] != b"{"]


def chunks_of(path):
    with open(path, "rb") as file:
        while chunk := file.read(1 << 17):
            yield chunk


def extracted(tar, directory):
    """GNU tar's tree, its whiteout files turned into overlayfs's devices and attributes."""
    directory.mkdir(mode=0o755)
    command = ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-p", "-C", directory, "-xf", tar]
    subprocess.run(command, check=True, capture_output=True)
    tree = snapshot(directory)
    for path in list(tree):
        parent, _, name = path.rpartition(b"/")
        if name == OPAQUE_MARKER:
            del tree[path]
            tree[parent] = tree[parent]._replace(xattrs={"trusted.overlay.opaque": b"y"})
        elif name.startswith(PREFIX):
            marker = tree.pop(path)
            gone = (parent + b"/" if parent else b"") + name.removeprefix(PREFIX)
            tree[gone] = marker._replace(mode=stat.S_IFCHR)
    return tree


def without_times_of_whiteouts(tree):
    """A whiteout has the time it was made; GNU tar's file that of the archive."""
    return {
        path: entry._replace(mtime_ns=0) if entry.mode == stat.S_IFCHR else entry
        for path, entry in tree.items()
    }


def assert_same(tar, tmp_path):
    """Same tree, right size, and the archive comes back from it to the byte."""
    ours = tmp_path / "ours"
    ours.mkdir(mode=0o755)
    root_fd = os.open(ours, os.O_RDONLY)
    split = io.BytesIO()
    applied = apply_layer(TarReader(chunks_of(tar), observer=TarSplitWriter(split)), root_fd)
    tree, expected = snapshot(ours), extracted(tar, tmp_path / "gnu")
    expected[b""] = tree[b""]  # GNU tar applies the root's own entry, Docker does not
    assert without_times_of_whiteouts(tree) == without_times_of_whiteouts(expected)
    assert applied.size_bytes == tree_size(root_fd)

    split.seek(0)
    again = hashlib.sha256()
    with Files(root_fd) as files:
        for piece in assemble(TarSplitReader(split), files.open):
            again.update(piece)
    with open(tar, "rb") as file:
        assert again.digest() == hashlib.file_digest(file, "sha256").digest()
    os.close(root_fd)


def make_tree(top, long_names):
    """Files of many kinds; names and numbers that every format can hold unless ``long_names``."""
    (top / "bin").mkdir(parents=True)
    for size in (0, 1, 511, 512, 513, 70_000):
        (top / "bin" / f"size{size}").write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    os.link(top / "bin" / "size513", top / "hard")
    os.symlink("../nowhere", top / "link")
    os.mkfifo(top / "fifo", 0o640)
    os.mknod(top / "device", 0o20600, os.makedev(4, 5))
    os.chown(top / "bin" / "size1", 1000, 1001)
    os.chmod(top / "bin" / "size511", 0o4755)
    (top / "sticky").mkdir(mode=0o1777)
    (top / "sticky" / "setgid").mkdir()
    os.chown(top / "sticky" / "setgid", 5, 6)
    os.chmod(top / "sticky" / "setgid", 0o2750)
    (top / "sticky" / "setgid" / "file").write_text("x")
    if long_names:
        deep = top / ("d" * 120) / ("e" * 120) / ("f" * 120)
        deep.mkdir(parents=True)
        (deep / "ünïcödé").write_text("x")
        os.symlink("t" * 300, top / "long-link")
        os.chown(deep, 3_000_000, 4_000_000)
    for path in sorted(top.rglob("*"), reverse=True):
        os.utime(path, (1_600_000_000, 1_500_000_000), follow_symlinks=False)


@pytest.mark.parametrize("dialect", ["v7", "ustar", "gnu", "oldgnu", "posix"])
def test_what_gnu_tar_packs(tmp_path, dialect):
    source, archive = tmp_path / "source", tmp_path / "layer.tar"
    make_tree(source, long_names=dialect in ("gnu", "oldgnu", "posix"))
    if dialect == "v7":
        for special in ("fifo", "device"):
            os.unlink(source / special)
    if dialect == "posix":
        os.setxattr(source / "bin" / "size1", "user.x", b"value\0\n=")
        os.utime(source / "bin" / "size1", ns=(1, 1_234_567_890_123_456_789))
    options = ["--xattrs"] if dialect == "posix" else []
    names = sorted(os.listdir(source))
    command = [
        "tar",
        f"--format={dialect}",
        "--numeric-owner",
        *options,
        "-C",
        source,
        "-cf",
        archive,
        *names,
    ]
    subprocess.run(command, check=True, capture_output=True)
    assert_same(archive, tmp_path)


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_sparse_files_that_gnu_tar_packs(tmp_path, version):
    source, archive = tmp_path / "source", tmp_path / "layer.tar"
    source.mkdir()
    with open(source / "sparse", "wb") as file:
        for offset in range(0, 40 << 20, 1 << 20):
            file.seek(offset)
            file.write(b"data at %d" % offset)
        file.truncate(50 << 20)
    options = ["--format=posix", "--sparse", f"--sparse-version={version}"]
    command = ["tar", *options, "--mtime=@1500000000", "-C", source, "-cf", archive, "sparse"]
    subprocess.run(command, check=True, capture_output=True)
    assert archive.stat().st_size < 2 << 20
    assert_same(archive, tmp_path)


def test_real_layers(tmp_path):
    """All blobs of the registry at hand; there may be none."""
    for number, blob in enumerate(real_layers()):
        place = tmp_path / str(number)
        place.mkdir()
        with open(place / "layer.tar", "wb") as file:
            for piece in decompressed(chunks_of(blob)):
                file.write(piece)
        assert_same(place / "layer.tar", place)


def test_real_layers_are_compressed_in_several_ways():
    kinds = {sniff(blob.read_bytes()[:10]) for blob in real_layers()}
    assert not kinds or kinds >= {Compression.GZIP, Compression.ZSTD}

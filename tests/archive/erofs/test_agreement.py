"""Random and mutated archives: whoever reads the index sees what overlay2's directory holds.

Readers are ours (:class:`IndexLayer`), the kernel's mount and, of the 4 KiB variant, fsck.erofs.
Otherwise the archive is refused, by both drivers in the same words, or no index can show it and
the driver unpacks it.
"""

from __future__ import annotations

import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onggi.archive.erofs.format import NotRepresentable
from onggi.archive.erofs.writer import write_index
from onggi.archive.tar import TarReader
from onggi.errors import OnggiError
from onggi.tree.expected import ExpectedTree
from onggi.tree.index_layer import IndexLayer
from onggi.tree.layer_tree import OpenLayers
from tests.archive.erofs.indexes import UUID, mounted
from tests.archive.erofs.test_writer import comparable
from tests.archive.tar_blocks import BLOCK, END, checksum, directory, link, member, symlink, xattr
from tests.archive.tar_strategies import archives
from tests.tree.cases import CASES
from tests.tree.index_trees import told, without_own_times
from tests.tree.trees import Entry, snapshot, unpack

# A sparse file may claim any size; no tree of these tests is read beyond this.
_SIZE_MAX = 1 << 22
_UNPACKED_INSTEAD = (
    "its data do not lie on blocks",
    "its holes do not lie on blocks",
    "its map of holes is too large",
    "the archive ends within its last block",
)
# What a file system takes in its own way (see test_writer); the driver unpacks the last.
_OF_THE_HOST = ("attribute not permitted", "attribute not known", "default ACL")

_PATHS = [b"a", b"b", b"a/b", b"a/c", b"a/b/c", b"d", b"d/e", b"d/e/f", b"/a", b"./d", b"s/x", b"../b"]
_paths = st.sampled_from(_PATHS)
_modes = st.sampled_from([0, 0o644, 0o755, 0o4755, 0o2775, 0o1777, 0o222])
_owners = st.sampled_from([0, 1, 1000, 65534, 2**31])
_times = st.sampled_from([0, 1, 1_700_000_000, 2**33, -1, 2**40])
_fields = st.fixed_dictionaries({"mode": _modes, "uid": _owners, "gid": _owners, "mtime": _times})
_contents = st.one_of(st.just(b""), st.binary(max_size=30), st.integers(1, 9000).map(lambda n: b"x" * n))
_attributes = st.one_of(
    st.just(b""),
    st.just(b""),
    st.sampled_from([xattr(b"user.a", b"1"), xattr(b"user.a", b""), xattr(b"trusted.t", b"v" * 700)]),
    st.just(xattr(b"trusted.overlay.opaque", b"y")),
)


@st.composite
def _member(draw: st.DrawFn) -> bytes:
    """One that mostly can be unpacked after the others: few names, every kind."""
    path, fields = draw(_paths), draw(_fields)
    parent, _, name = path.rpartition(b"/")
    prefix = parent + b"/" if parent else b""
    match draw(st.sampled_from("ffffdddslwocp")):
        case "f":
            return draw(_attributes) + member(path, draw(_contents), **fields)
        case "d":
            attributes = draw(_attributes)
            return attributes + directory(path + b"/", **fields)
        case "s":
            return symlink(path, draw(st.sampled_from([b"a", b"/a/b", b"../d", b"t" * 99])), **fields)
        case "l":
            return link(path, draw(_paths), **fields)
        case "w":
            return member(prefix + b".wh." + name, **fields)
        case "o":
            return member(prefix + b".wh..wh..opq", **fields)
        case "c":
            return member(path, kind=b"3", device=draw(st.sampled_from([(0, 0), (1, 3), (259, 70000)])))
        case _:
            return member(path, kind=b"6", **fields)


trees = st.lists(_member(), max_size=12).map(lambda members: b"".join(members) + END)
_sources = st.one_of(
    trees, archives, st.sampled_from([data for name, data in CASES.items() if name not in _OF_THE_HOST])
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Bytes changed, header checksums made right again or not; blocks cut, doubled, taken out."""
    data = bytearray(draw(_sources))
    for _ in range(draw(st.integers(1, 4))):
        assume(data)
        at = draw(st.integers(0, len(data) - 1))
        start = at - at % BLOCK
        match draw(st.sampled_from("bbbbrdtc")):
            case "b":
                data[at] = draw(st.integers(0, 255))
                _correct(data, start)
            case "r":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "d":
                data[start:start] = data[start : start + BLOCK]
            case "t":
                del data[start : start + BLOCK]
            case "c":
                del data[at:]
    return bytes(data)


def _correct(data: bytearray, start: int) -> None:
    """Make the checksum right, if this is a header."""
    block = data[start : start + BLOCK]
    if len(block) == BLOCK and block[257:262] == b"ustar":
        data[start + 148 : start + 156] = b"%06o\0 " % checksum(block)


# --- agreement --------------------------------------------------------------------------------


def scanned(data: bytes, block: int) -> tuple[ExpectedTree, bytes]:
    """The tree, and the file with its contents: the archive, or the contents each on a block of its own."""
    tree, repacked = ExpectedTree(), bytearray()
    reader = TarReader([data])
    for each in reader:
        tree.add(each, reader.offset if block == BLOCK else len(repacked))
        if block != BLOCK:
            for _, piece in reader.read_data():
                repacked += piece
            repacked += bytes(-len(repacked) % block)
    tree.finish()
    return tree, data if block == BLOCK else bytes(repacked)


def refusal(function, *arguments) -> tuple[str, str] | None:
    try:
        function(*arguments)
    except OnggiError as error:
        return type(error).__name__, error.message
    return None


def agree(data: bytes) -> None:
    """Refused alike, or one tree to all; the 4 KiB variant too."""
    try:
        tree, _ = scanned(data, BLOCK)
    except OnggiError:
        tree = None
    assume(tree is None or max(tree.sizes()) <= _SIZE_MAX)
    with tempfile.TemporaryDirectory(prefix="onggi-agree-") as name:
        place = Path(name)
        assert refusal(scanned, data, BLOCK) == refusal(unpack, place / "unpacked", data)
        if tree is not None and not tree.has_default_acl:
            for bits in (9, 12):
                (place / str(bits)).mkdir()
                _agree(place / str(bits), place / "unpacked", data, bits)


def _agree(place: Path, unpacked: Path, data: bytes, bits: int) -> None:
    tree, contents = scanned(data, 1 << bits)
    try:
        image = bytes(write_index(tree.root, data_bytes=len(contents), block_bits=bits, uuid=UUID))
    except NotRepresentable as error:
        assert error.reason in _UNPACKED_INSTEAD
        return
    with mounted(place, image, contents) as point:
        assert comparable(snapshot(point)) == comparable(snapshot(unpacked))
    with OpenLayers() as layers:
        by_index = told(layers.add(IndexLayer(place / "index", place / "layer.tar")))
        by_directory = told(*layers.directories([unpacked]))
    assert without_own_times(by_index, by_index) == without_own_times(by_directory, by_index)
    if bits == 12:
        _fsck(place, by_index)


def _fsck(place: Path, expected: dict) -> None:
    """Debian's reads everything but holes. It extracts no devices, and its chown takes set-id bits away."""
    device = [f"--device={place}/layer.tar"] if (place / "layer.tar").stat().st_size else []
    command = ["fsck.erofs", *device, f"--extract={place}/out", place / "index"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = snapshot(place / "out")
    for path, (entry, _) in expected.items():
        if stat.S_IFMT(entry.mode) in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR):
            assert _extracted(found[path]) == _extracted(entry), path


def _extracted(entry: Entry) -> tuple[object, ...]:
    mode = entry.mode if stat.S_ISDIR(entry.mode) else entry.mode & ~(stat.S_ISUID | stat.S_ISGID)
    return mode, entry.uid, entry.gid, entry.target, entry.content


_FEW = {"max_examples": 60, "deadline": None}
_MANY = {"max_examples": 2_000, "deadline": None}


@settings(**_FEW)
@given(trees)
def test_random_trees(data):
    agree(data)


@settings(**_FEW)
@given(st.one_of(archives, mutated()))
def test_mutated_archives(data):
    agree(data)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@settings(**_MANY)
@given(st.one_of(trees, archives, mutated(), mutated()))
def test_a_long_campaign(data):
    agree(data)

"""One mutation of each class: the path is named, with what changed; a clean layer is clean."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile

import pytest

from onggi.cancel import CancelToken
from onggi.errors import Cancelled
from onggi.layers.verify import Believed, Standing, _judge, believed, check_layers
from onggi.oci.digest import DiffID
from tests.archive.tar_blocks import END, pax
from tests.archive.tar_blocks import member as block_member
from tests.drivers.test_contract import Rig

_TYPES = {
    "dir": tarfile.DIRTYPE,
    "link": tarfile.LNKTYPE,
    "symlink": tarfile.SYMTYPE,
    "char": tarfile.CHRTYPE,
}


def info(name, content=b"", kind="file", **fields):
    made = tarfile.TarInfo(name)
    made.type = _TYPES.get(kind, tarfile.REGTYPE)
    made.mtime, made.mode, made.size = 1_700_000_000, 0o755 if kind == "dir" else 0o644, len(content)
    for field, value in fields.items():
        setattr(made, field, value)
    return made, content


def archive(*members) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as file:
        for made, content in members:
            file.addfile(made, io.BytesIO(content))
    return out.getvalue()


SAMPLE = (
    info("etc", kind="dir"),
    info("etc/passwd", b"root:x:0:0\n"),
    info("etc/empty"),
    info("bin/sh", b"#!" * 900_000, mode=0o755),
    info("bin/su", b"su", mode=0o4755),
    info("bin/ash", kind="link", linkname="bin/sh", mode=0o755),
    info("lib", kind="symlink", linkname="usr/lib"),
    info("dev/null", kind="char", devmajor=1, devminor=3, mode=0o666),
    info("etc/.wh.gone"),
    info("opt", kind="dir"),
    info("opt/.wh..wh..opq"),
    info("data", b"d", pax_headers={"SCHILY.xattr.user.note": "as it was"}),
)


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("verify") / "root", "overlay2")
    yield made
    made.workers.close()


@pytest.fixture
def layer(rig, request):
    """A layer of one's own: the sample and a file with the test's name."""
    data = archive(*SAMPLE, info("salt", request.node.name.encode()))
    return rig.store.commit([rig.unpack(data)])[0]


def check(rig, record, **settings):
    wanted = Believed(record.chain_id, record.diff_id, record.parent, True)
    return next(iter(check_layers(rig.store, rig.workers, [wanted], **settings)))


def found(result):
    return {(each.path.decode(), change.what) for each in result.changes for change in each.changes}


def keep_times(path, action):
    """Do something to a file and put its times back."""
    before = os.stat(path)
    action(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def overwrite(path):
    with open(path, "r+b") as file:
        file.seek(5)
        file.write(b"\0")


def chmod(mode):
    return lambda path: path.chmod(mode)


def replace(path, make):
    path.unlink()
    make(path)


def break_link(path):
    data, before = path.read_bytes(), path.stat()
    path.unlink()
    path.write_bytes(data)
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


MUTATIONS = {
    "content, size and mtime kept": (
        lambda diff: keep_times(diff / "etc/passwd", overwrite),
        {("etc/passwd", "content")},
    ),
    "content of a large file": (
        lambda diff: keep_times(diff / "bin/sh", overwrite),
        {("bin/sh", "content")},
    ),
    "longer": (
        lambda diff: keep_times(diff / "etc/passwd", lambda path: path.write_bytes(b"root:x:0:0\nx")),
        {("etc/passwd", "content")},
    ),
    "emptied": (
        lambda diff: keep_times(diff / "etc/passwd", lambda path: path.write_bytes(b"")),
        {("etc/passwd", "content")},
    ),
    "filled": (
        lambda diff: keep_times(diff / "etc/empty", lambda path: path.write_bytes(b"x")),
        {("etc/empty", "content")},
    ),
    "mode": (lambda diff: (diff / "data").chmod(0o600), {("data", "mode")}),
    "setuid lost": (lambda diff: (diff / "bin/su").chmod(0o755), {("bin/su", "mode")}),
    "mode of a directory": (lambda diff: (diff / "etc").chmod(0o700), {("etc", "mode")}),
    "mode of an implied directory": (lambda diff: (diff / "bin").chmod(0o777), {("bin", "mode")}),
    "mode of the root": (lambda diff: diff.chmod(0o700), {("", "mode")}),
    "owner": (lambda diff: os.chown(diff / "data", 7, 0), {("data", "owner")}),
    "owner of a link": (
        lambda diff: os.chown(diff / "lib", 7, 7, follow_symlinks=False),
        {("lib", "owner")},
    ),
    "owner of a whiteout": (lambda diff: os.chown(diff / "etc/gone", 1, 1), {("etc/gone", "owner")}),
    "mtime": (lambda diff: os.utime(diff / "data", (1, 1)), {("data", "mtime")}),
    "mtime of a directory": (lambda diff: os.utime(diff / "etc", (1, 1)), {("etc", "mtime")}),
    "xattr changed": (
        lambda diff: os.setxattr(diff / "data", "user.note", b"else"),
        {("data", "xattr user.note")},
    ),
    "xattr removed": (
        lambda diff: os.removexattr(diff / "data", "user.note"),
        {("data", "xattr user.note")},
    ),
    "xattr added": (
        lambda diff: os.setxattr(diff / "etc/passwd", "trusted.new", b"1"),
        {("etc/passwd", "xattr trusted.new")},
    ),
    "capability added": (
        lambda diff: os.setxattr(
            diff / "bin/sh", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000")
        ),
        {("bin/sh", "xattr security.capability"), ("bin/ash", "xattr security.capability")},
    ),
    "link target": (
        lambda diff: replace(diff / "lib", lambda path: (os.symlink("usr/evil", path), _link_times(path))[0]),
        {("lib", "link target")},
    ),
    "type": (
        lambda diff: keep_times(
            diff / "etc", lambda path: replace(path / "empty", lambda below: below.mkdir())
        ),
        {("etc/empty", "type")},
    ),
    "directory became a file": (
        lambda diff: (shutil.rmtree(diff / "etc"), (diff / "etc").write_bytes(b"")),
        {
            ("etc", "type"),
            ("etc/passwd", "missing"),
            ("etc/empty", "missing"),
            ("etc/gone", "missing"),
        },
    ),
    "fifo in place of a file": (
        lambda diff: keep_times(
            diff / "etc", lambda path: replace(path / "passwd", lambda below: os.mkfifo(below))
        ),
        {("etc/passwd", "type")},
    ),
    "device": (
        lambda diff: replace(
            diff / "dev/null",
            lambda path: (
                os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
                path.chmod(0o666),
                os.utime(path, (1_700_000_000, 1_700_000_000)),
            ),
        ),
        {("dev/null", "device")},
    ),
    "whiteout removed": (
        lambda diff: keep_times(diff / "etc", lambda path: (path / "gone").unlink()),
        {("etc/gone", "missing")},
    ),
    "whiteout became a file": (
        lambda diff: keep_times(
            diff / "etc", lambda path: replace(path / "gone", lambda below: below.write_bytes(b"back"))
        ),
        {("etc/gone", "whiteout")},
    ),
    "file became a whiteout": (
        lambda diff: keep_times(
            diff / "etc",
            lambda path: replace(path / "passwd", lambda below: os.mknod(below, stat.S_IFCHR, 0)),
        ),
        {("etc/passwd", "whiteout")},
    ),
    "whiteout added": (
        lambda diff: keep_times(diff / "etc", lambda path: os.mknod(path / "shadow", stat.S_IFCHR, 0)),
        {("etc/shadow", "added")},
    ),
    "opaque lost": (
        lambda diff: os.removexattr(diff / "opt", "trusted.overlay.opaque"),
        {("opt", "xattr trusted.overlay.opaque")},
    ),
    "opaque added": (
        lambda diff: os.setxattr(diff / "etc", "trusted.overlay.opaque", b"y"),
        {("etc", "xattr trusted.overlay.opaque")},
    ),
    "hard link broken": (lambda diff: break_link(diff / "bin/ash"), {("bin/ash", "hard link")}),
    "added": (
        lambda diff: keep_times(diff / "etc", lambda path: (path / "rc").write_bytes(b"evil")),
        {("etc/rc", "added")},
    ),
    "added at the top": (lambda diff: (diff / "evil").mkdir(), {("evil", "added")}),
    "missing": (
        lambda diff: keep_times(diff / "etc", lambda path: (path / "passwd").unlink()),
        {("etc/passwd", "missing")},
    ),
    "renamed": (
        lambda diff: keep_times(diff / "etc", lambda path: os.rename(path / "passwd", path / "passwd-")),
        {("etc/passwd", "missing"), ("etc/passwd-", "added")},
    ),
}


def _link_times(path):
    os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_mutation_is_named(rig, layer, name):
    mutate, expected = MUTATIONS[name]
    assert check(rig, layer).sound
    mutate(rig.driver.diff_path(layer.cache_id))
    result = check(rig, layer)
    assert found(result) == expected
    assert not result.sound and not result.mendable


def test_hard_link_made(rig, layer):
    diff = rig.driver.diff_path(layer.cache_id)
    replace(diff / "data", lambda path: os.link(diff / "etc/passwd", path))
    assert found(check(rig, layer)) == {
        ("data", "content"),
        ("data", "hard link"),
        ("data", "xattr user.note"),
        ("etc/passwd", "hard link"),
    }


def test_fast_sees_an_edit_whose_times_were_put_back(rig, layer):
    diff = rig.driver.diff_path(layer.cache_id)
    assert check(rig, layer, fast=True).sound
    keep_times(diff / "etc/passwd", overwrite)
    assert found(check(rig, layer, fast=True)) == {("etc/passwd", "ctime")}


def test_fast_reads_no_contents(rig, layer):
    assert check(rig, layer, fast=True).size_bytes == 0
    assert check(rig, layer).size_bytes == len(archive(*SAMPLE, info("salt", b"test_fast_reads_no_contents")))


def test_content_that_meets_its_crc_is_found_by_the_diff_id(rig):
    """CRC-64 is no lock: whoever forges it is found all the same, though not by name."""
    from onggi.archive.crc64 import crc64

    content = b"0123456789abcdef"
    record = rig.store.commit([rig.unpack(archive(info("forged", content)))])[0]
    path = rig.driver.diff_path(record.cache_id) / "forged"
    keep_times(path, lambda each: each.write_bytes(_forged(content, crc64)))
    result = check(rig, record)
    assert not result.changes
    assert [flaw.file for flaw in result.flaws] == ["overlay2/diff"]


def _forged(content, crc64):
    """Other bytes of the same length with the same CRC-64: the last eight solve a linear system."""
    changed = bytearray(b"!" + content[1:])
    target = crc64(content)
    base = crc64(bytes(changed))
    columns = []
    for bit in range(64):
        flipped = bytearray(changed)
        flipped[8 + bit // 8] ^= 1 << bit % 8
        columns.append((crc64(bytes(flipped)) ^ base, 1 << bit))
    wanted = base ^ target
    basis: dict[int, tuple[int, int]] = {}
    for value, mask in columns:
        while value and value.bit_length() in basis:
            other, other_mask = basis[value.bit_length()]
            value, mask = value ^ other, mask ^ other_mask
        if value:
            basis[value.bit_length()] = value, mask
    bits = 0
    while wanted:
        value, mask = basis[wanted.bit_length()]
        wanted, bits = wanted ^ value, bits ^ mask
    for bit in range(64):
        if bits >> bit & 1:
            changed[8 + bit // 8] ^= 1 << bit % 8
    assert crc64(bytes(changed)) == target and bytes(changed) != content
    return bytes(changed)


def test_sparse_files(rig):
    """Their data lie in tar-split, not in the archive's contents; holes count as well."""
    records = {
        b"GNU.sparse.name": b"sp",
        b"GNU.sparse.size": b"5000000",
        b"GNU.sparse.numblocks": b"2",
        b"GNU.sparse.map": b"4096,3,4000000,4",
    }
    data = pax(records) + block_member(b"sp", b"abcdefg") + END
    record = rig.store.commit([rig.unpack(data)])[0]
    assert check(rig, record).sound
    path = rig.driver.diff_path(record.cache_id) / "sp"
    for offset in (4097, 100_000, 4_999_999):
        before = path.read_bytes()
        keep_times(path, lambda each, at=offset: _write_at(each, at))
        assert found(check(rig, record)) == {("sp", "content")}, offset
        keep_times(path, lambda each, data=before: each.write_bytes(data))
        assert check(rig, record).sound


def _write_at(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"!")


def test_a_layer_that_nobody_can_put_together_again(rig):
    """Its archive replaces a file of its own: no damage, and said so."""
    data = block_member(b"a/f", b"xx") + block_member(b"/a", b"yyy") + END
    record = rig.store.commit([rig.unpack(data)])[0]
    result = check(rig, record)
    assert result.sound
    assert result.note == "cannot be proved: its archive replaces 1 of its own files"
    (rig.driver.diff_path(record.cache_id) / "a").chmod(0o600)
    assert found(check(rig, record)) == {("a", "mode")}


METADATA = {
    "layerdb/diff": lambda entry, base: (entry / "diff").write_text("sha256:" + "0" * 64),
    "layerdb/size": lambda entry, base: (entry / "size").write_text("99"),
    "layerdb/cache-id": lambda entry, base: (entry / "cache-id").unlink(),
    "layerdb/parent": lambda entry, base: (entry / "parent").write_text("sha256:" + "0" * 64),
    "layerdb/tar-split.json.gz": lambda entry, base: (entry / "tar-split.json.gz").unlink(),
    "overlay2/link": lambda entry, base: (base / "link").write_text(""),
    "overlay2/lower": lambda entry, base: (base / "lower").unlink(),
    "overlay2/work": lambda entry, base: shutil.rmtree(base / "work"),
    "overlay2/committed": lambda entry, base: (base / "committed").unlink(),
    "overlay2/diff": lambda entry, base: shutil.rmtree(base / "diff"),
}


@pytest.mark.parametrize("name", METADATA)
def test_each_metadata_file(rig, name):
    below = rig.store.commit([rig.unpack(archive(info("below", name.encode())))])[0]
    record = rig.store.commit([rig.unpack(archive(info("middle", name.encode())), below.chain_id)])[0]
    rig.store.commit([rig.unpack(archive(info("above", name.encode())), record.chain_id)])
    assert check(rig, record).sound
    METADATA[name](rig.store.db.path(record.chain_id), rig.driver.path(record.cache_id))
    result = check(rig, record)
    assert name in [flaw.file for flaw in result.flaws]
    mendable = name not in ("layerdb/tar-split.json.gz", "overlay2/diff")
    assert result.mendable == mendable and not result.changes


def test_short_name(rig, layer):
    link = rig.driver.link(layer.cache_id)
    path = rig.layout.driver_home / "l" / link
    path.unlink()
    assert [flaw.file for flaw in check(rig, layer).flaws] == [f"overlay2/l/{link}"]
    path.symlink_to("../elsewhere/diff")
    assert [flaw.file for flaw in check(rig, layer).flaws] == [f"overlay2/l/{link}"]


@pytest.mark.parametrize("data", [b"", b"no gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"])
def test_broken_tar_split(rig, layer, data):
    (rig.store.db.path(layer.chain_id) / "tar-split.json.gz").write_bytes(data)
    result = check(rig, layer)
    assert not result.sound and not result.mendable


def test_layer_gone_while_something_stands_on_it(rig, layer):
    mount = rig.layout.layerdb / "mounts" / ("c" * 64)
    mount.mkdir(parents=True)
    (mount / "parent").write_text(layer.chain_id)
    shutil.rmtree(rig.store.db.path(layer.chain_id))
    assert [flaw.file for flaw in check(rig, layer).flaws] == ["layerdb"]


def test_layer_that_was_removed_meanwhile(rig, layer):
    """Nobody needs it any more: that is no damage."""
    rig.store.release([layer.chain_id])
    result = check(rig, layer)
    assert result.gone and result.sound


def test_a_child_that_went_meanwhile(rig, layer):
    """What stands on layers is read once; one that was made anew since then has nothing on it."""
    (rig.driver.path(layer.cache_id) / "committed").unlink(missing_ok=True)
    standing = Standing(rig.store)
    standing._children[layer.chain_id] = [layer.cache_id]
    assert _judge(rig.store, standing, believed(rig.store, layer.chain_id), [], fast=True).sound


def test_layer_of_no_image(rig, layer):
    wanted = believed(rig.store, layer.chain_id)
    assert wanted.diff_id == layer.diff_id
    assert next(iter(check_layers(rig.store, rig.workers, [wanted]))).sound
    (rig.store.db.path(layer.chain_id) / "diff").write_text(DiffID.of(b"else"))
    wanted = believed(rig.store, layer.chain_id)
    flaws = next(iter(check_layers(rig.store, rig.workers, [wanted]))).flaws
    assert "layerdb/parent" in [flaw.file for flaw in flaws]


def test_many_differences_travel(rig, layer):
    diff = rig.driver.diff_path(layer.cache_id)
    for number in range(3000):
        (diff / f"{'n' * 180}{number}").touch()
    assert len(check(rig, layer).changes) == 3000


def test_cancelled(rig, layer):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        check(rig, layer, cancel=token)

import errno
import os
import stat
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onggi.archive.tar import InvalidTar, TarReader
from onggi.archive.tarsplit import DuplicatePath
from onggi.archive.tarsplit_writer import TarSplitWriter
from onggi.errors import OnggiError
from onggi.tree import metadata
from onggi.tree.apply import ApplyLimits, apply_layer
from onggi.tree.errors import DiskFull, HostRefuses, InvalidLayer, LayerTooLarge
from onggi.tree.size import tree_size
from tests.archive.tar_blocks import END, directory, header, link, member, octal, pax, symlink, xattr
from tests.tree.trees import NOW, snapshot, unpack

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
MTIME = 1_700_000_000_000_000_000
WHITEOUT = stat.S_IFCHR


def device(name, kind=b"3", numbers=(1, 3), **fields):
    return member(name, kind=kind, device=numbers, **fields)


def names(root):
    return sorted(path for path in snapshot(root) if path)


def size_of(root):
    fd = os.open(root, os.O_RDONLY)
    try:
        return tree_size(fd)
    finally:
        os.close(fd)


# -- names


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"../evil", b"evil"),
        (b"a/../../evil", b"evil"),
        (b"/../e", b"e"),
        (b"/abs/f", b"abs/f"),
        (b"a/../ok", b"ok"),
        (b"a//b/./c", b"a/b/c"),
        (b"..x", b"..x"),
        (b"...", b"..."),
        (b"file/", b"file"),
        (b"back\\slash", b"back\\slash"),
        (b"..\\..\\x", b"..\\..\\x"),
        (b"not\xffutf8\n", b"not\xffutf8\n"),
    ],
)
def test_names_are_clamped(root, name, path):
    unpack(root, member(name, b"x") + END)
    assert snapshot(root)[path].content == b"x"


def test_the_roots_own_entry_changes_nothing(root):
    for name in (b"./", b".", b""):
        unpack(root, directory(name, mode=0o700, uid=9, mtime=5) + member(b"x") + END)
        entry = snapshot(root)[b""]
        assert (entry.mode, entry.uid, entry.mtime_ns) == (0o40755, 0, NOW)
    unpack(root, member(b"./", b"data") + END)
    assert names(root) == []


@pytest.mark.parametrize("name", [b"/", b"..", b"../", b"//"])
def test_other_names_of_the_root_are_a_directory_as_any_other(root, name):
    unpack(root, directory(name, mode=0o700, uid=9, mtime=5) + member(b"x") + END)
    entry = snapshot(root)[b""]
    assert (entry.mode, entry.uid, entry.mtime_ns) == (0o40700, 9, 5_000_000_000)
    with pytest.raises(InvalidLayer, match="device or resource busy"):
        unpack(root, member(b"x") + member(name) + END)


def test_missing_parents_are_made(root):
    unpack(root, member(b"p/q/f", b"x", mode=0o600, uid=7) + END)
    found = snapshot(root)
    for path in (b"p", b"p/q"):
        entry = found[path]
        assert (entry.mode, entry.uid, entry.gid, entry.mtime_ns) == (0o40755, 0, 0, NOW)


def test_names_that_are_too_long(root):
    for name in (b"n" * 256, b"/".join([b"n" * 199] * 21)):
        with pytest.raises(InvalidLayer, match="file name too long") as caught:
            unpack(root, pax({b"path": name}) + member(b"f") + END)
        assert len(caught.value.message) < 600
    unpack(root, pax({b"path": b"/".join([b"n" * 199] * 20) + b"/" + b"z" * 93}) + member(b"f", b"x") + END)


# -- links on the way


def test_parents_that_are_links_resolve_in_the_root(root):
    data = directory(b"etc/") + symlink(b"s", b"/etc") + member(b"s/x", b"1") + member(b"s/y/z", b"2")
    data += directory(b"d/") + symlink(b"d/up", b"../../../..") + member(b"d/up/top", b"3") + END
    unpack(root, data)
    found = snapshot(root)
    assert (found[b"etc/x"].content, found[b"etc/y/z"].content, found[b"top"].content) == (b"1", b"2", b"3")


@pytest.mark.parametrize(
    "target", [b"../secret", b"/../secret", b"../../../../../../../../tmp", b"/tmp", b"/"]
)
def test_nothing_leads_out(root, target):
    """Whatever is written through a link, the secret beside the root stays (see the fixture)."""
    actions = [
        member(b"s", b"x"),
        member(b"s/secret", b"x"),
        directory(b"s/", mode=0o700, uid=5),
        directory(b"s/secret/", mode=0o700),
        member(b"s/.wh.secret"),
        member(b"s/.wh..wh..opq"),
        link(b"h", b"s/secret", mode=0o666, uid=5),
        link(b"s/secret", b"s"),
        device(b"s/secret"),
    ]
    for number, action in enumerate(actions):
        try:
            unpack(root, symlink(b"./s", target) + action + END)
        except OnggiError as error:
            assert isinstance(error, InvalidLayer), (number, error)


def test_a_link_for_a_directory_and_back(root):
    """The path's descriptor must not outlive what it was opened by."""
    data = directory(b"a/") + directory(b"b/") + symlink(b"s", b"a") + member(b"s/1", b"")
    data += symlink(b"/s", b"b") + member(b"s/2", b"")
    data += directory(b"./../s") + member(b"s/3", b"") + END
    unpack(root, data)
    assert names(root) == [b"a", b"a/1", b"b", b"b/2", b"s", b"s/3"]


def test_a_directory_replaced_under_another_name(root):
    data = directory(b"p/") + directory(b"p/d/") + member(b"p/d/f") + symlink(b"s", b"p")
    data += symlink(b"s/d", b"/q") + directory(b"q/") + member(b"p/d/g") + END
    unpack(root, data)
    assert names(root) == [b"p", b"p/d", b"q", b"q/g", b"s"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (symlink(b"s", b"/etc") + member(b"s/x"), "open /s/x: no such file or directory"),
        (symlink(b"s", b"/etc") + member(b"s/x/y"), "mkdir /s: file exists"),
        (
            symlink(b"a", b"b") + symlink(b"b", b"a") + member(b"a/x"),
            "open /a/x: too many levels of symbolic links",
        ),
        (member(b"f") + member(b"f/x"), "open /f/x: not a directory"),
        (member(b"f") + directory(b"f/x/y"), "mkdir /f/x/y: not a directory"),
        (link(b"h", b"nope"), "link /nope /h: no such file or directory"),
        (link(b"h", b"no/pe"), "link /no/pe /h: no such file or directory"),
        (member(b"a") + link(b"/a", b"a"), "link /a /a: no such file or directory"),
        (symlink(b"s", b""), "symlink  /s: no such file or directory"),
        (member(b"f") + symlink(b"f/s", b"t"), "symlink t /f/s: not a directory"),
        (member(b"f") + device(b"f/d"), "mknod /f/d: not a directory"),
        (member(b"x", kind=b"Z"), "unhandled tar header type 90"),
        (member(b"x", b"abc", kind=b"7"), "unhandled tar header type 55"),
        (
            xattr(b"security.capability", b"xx") + member(b"f"),
            "lsetxattr security.capability /f: invalid argument",
        ),
        (member(b"f") + member(b".wh.f"), 'failed to mknod("/f", S_IFCHR, 0): file exists'),
        (member(b"d/.wh."), 'failed to mknod("/d", S_IFCHR, 0): file exists'),
        (member(b"d/.wh.."), 'failed to mknod("/d", S_IFCHR, 0): file exists'),
        (member(b"d/.wh..."), 'failed to mknod("/", S_IFCHR, 0): file exists'),
        (member(b".wh.d") + member(b"d/f"), "open /d/f: not a directory"),
    ],
)
def test_layers_that_docker_refuses(root, data, message):
    """Docker 20.10's own words."""
    with pytest.raises(InvalidLayer) as caught:
        unpack(root, data + END)
    assert caught.value.message == message


# -- types


def test_files(root):
    contents = [b"", b"x", bytes(512), bytes(range(256)) * 3000]
    for size in (1, 700, 100_000, 1 << 22):
        data = b"".join(member(b"f%d" % number, content) for number, content in enumerate(contents))
        if size == 1:
            data = data[: 512 + 1024 + 1024] + END
        applied = unpack(root, data + END, size=size)
        found = snapshot(root)
        for number, content in enumerate(contents[: len(found) - 1]):
            assert found[b"f%d" % number].content == content
        assert applied.size_bytes == size_of(root)


@pytest.mark.parametrize("mode", [0, 0o222, 0o644, 0o1644, 0o2755, 0o4755, 0o7777, 0o100600, 0o40755])
def test_modes(root, mode):
    data = member(b"f", b"x", mode=mode) + directory(b"d/", mode=mode) + device(b"n", mode=mode, uid=3) + END
    unpack(root, data)
    found = snapshot(root)
    assert {stat.S_IMODE(found[name].mode) for name in (b"f", b"d", b"n")} == {mode & 0o7777}


@pytest.mark.parametrize(("uid", "gid"), [(0, 5), (7, 0), (1000, 70000), (3_000_000, 4_000_000_000)])
def test_owners(root, uid, gid):
    owner = {"uid": uid, "gid": gid}
    data = member(b"f", b"x", mode=0o4755, **owner) + directory(b"d/", mode=0o2755, **owner)
    data += symlink(b"s", b"f", **owner) + device(b"n", **owner) + device(b"p", b"6", (0, 0), **owner) + END
    unpack(root, data)
    found = snapshot(root)
    for name in (b"f", b"d", b"s", b"n", b"p"):
        assert (found[name].uid, found[name].gid) == (uid, gid)
    assert stat.S_IMODE(found[b"f"].mode) == 0o4755


def test_owners_beyond_32_bits(root):
    unpack(
        root,
        pax({b"uid": b"-5", b"gid": b"4294967298"})
        + member(b"f")
        + pax({b"uid": b"-1"})
        + member(b"g")
        + END,
    )
    found = snapshot(root)
    assert (found[b"f"].uid, found[b"f"].gid, found[b"g"].uid) == (2**32 - 5, 2, 0)


def test_symbolic_links_are_kept_verbatim(root):
    targets = [b"/etc/passwd", b"../../../x", b"nowhere", b"a//b/", b".", b"\xff", b"t" * 4095]
    data = b"".join(
        pax({b"linkpath": target}) + symlink(b"s%d" % number, b"cut") for number, target in enumerate(targets)
    )
    applied = unpack(root, data + END)
    assert [snapshot(root)[b"s%d" % number].target for number in range(len(targets))] == targets
    assert applied.size_bytes == sum(map(len, targets))


def test_devices(root):
    data = device(b"null", mode=0o666) + device(b"blk", b"4", (259, 70000)) + device(b"pipe", b"6", (0, 0))
    unpack(root, data + device(b"wide", numbers=(0x1FFF, 0x1FFFFF)) + END)
    found = snapshot(root)
    assert (found[b"null"].mode, found[b"null"].device) == (stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert (found[b"blk"].mode, found[b"blk"].device) == (stat.S_IFBLK | 0o644, os.makedev(259, 70000))
    assert found[b"pipe"].mode == stat.S_IFIFO | 0o644
    assert found[b"wide"].device == os.makedev(0xFFF, 0xFFFFF)
    assert found[b"null"].mtime_ns == MTIME


def test_global_headers_are_ignored(root):
    assert unpack(root, pax({b"path": b"x/y"}, b"g") + member(b"f") + END).members == 2
    assert names(root) == [b"f"]


def test_sparse_files_keep_their_holes(root):
    size = 64 << 20
    records = {
        b"GNU.sparse.size": b"%d" % size,
        b"GNU.sparse.numblocks": b"2",
        b"GNU.sparse.map": b"0,3,1000000,4",
    }
    applied = unpack(root, pax(records) + member(b"f", b"abcdefg") + END, size=300)
    content = snapshot(root)[b"f"].content
    assert applied.size_bytes == len(content) == size
    assert (content[:4], content[999_999:1_000_005]) == (b"abc\0", b"\0defg\0")
    assert os.stat(root / "f").st_blocks * 512 < 1 << 20


# -- hard links


def test_hard_links_share_their_inode_and_their_latest_metadata(root):
    data = (
        member(b"a", b"1", mode=0o4755, uid=12, mtime=100) + link(b"d/h", b"a", mode=0o644, mtime=200) + END
    )
    applied = unpack(root, data)
    found = snapshot(root)
    assert found[b"a"] == found[b"d/h"]
    assert (found[b"a"].mode, found[b"a"].uid, found[b"a"].nlink) == (0o100644, 0, 2)
    assert found[b"a"].mtime_ns == 200_000_000_000
    assert applied.size_bytes == 1


@pytest.mark.parametrize("target", [b"d/a", b"/d/a", b"./d//a", b"../../d/a", b"s/a"])
def test_targets_of_hard_links_resolve_in_the_root(root, target):
    unpack(root, directory(b"d/") + member(b"d/a", b"1") + symlink(b"s", b"/d") + link(b"h", target) + END)
    assert snapshot(root)[b"h"].nlink == 2


def test_a_hard_link_to_a_symbolic_link_links_the_link(root):
    data = (
        symlink(b"s", b"../secret", uid=1, mtime=100)
        + link(b"h", b"s", uid=5, gid=6, mode=0o600, mtime=200)
        + END
    )
    applied = unpack(root, data)
    entry = snapshot(root)[b"h"]
    assert (entry.target, entry.uid, entry.gid, entry.mtime_ns) == (b"../secret", 5, 6, 100_000_000_000)
    assert applied.size_bytes == len(b"../secret")


def test_a_hard_link_takes_capabilities_away_as_in_docker(root):
    data = xattr(b"security.capability", CAPABILITY) + member(b"a", b"1", mode=0o755)
    unpack(root, data + link(b"h", b"a", mode=0o755) + END)
    assert snapshot(root)[b"a"].xattrs == {}
    unpack(root, data + xattr(b"security.capability", CAPABILITY) + link(b"h", b"a", mode=0o755) + END)
    assert snapshot(root)[b"a"].xattrs == {"security.capability": CAPABILITY}


def test_hard_links_to_directories_and_to_the_root(root):
    for target in (b"d", b"/", b""):
        with pytest.raises(InvalidLayer, match=r"link /d? ?/h: operation not permitted"):
            unpack(root, directory(b"d/") + link(b"h", target) + END)


def test_a_link_with_a_size_has_no_content(root):
    data = member(b"a", b"12345") + header(b"h", b"1", 5, linkname=b"a") + member(b"b", b"x") + END
    unpack(root, data)
    assert names(root) == [b"a", b"b", b"h"]


# -- what exists


def test_directories_merge(root):
    data = directory(b"d/", mode=0o700, mtime=5) + member(b"d/f", b"1")
    data += directory(b"/d", mode=0o2711, uid=3, gid=4, mtime=9) + END
    unpack(root, data)
    found = snapshot(root)
    assert (found[b"d"].mode, found[b"d"].uid, found[b"d"].gid) == (0o42711, 3, 4)
    assert found[b"d"].mtime_ns == 9_000_000_000
    assert found[b"d/f"].content == b"1"


def test_an_implied_directory_takes_its_entry_later(root):
    unpack(root, member(b"d/f", b"1") + directory(b"d/", mode=0o700, uid=3) + END)
    found = snapshot(root)
    assert (found[b"d"].mode, found[b"d"].uid, found[b"d"].mtime_ns) == (0o40700, 3, MTIME)


@pytest.mark.parametrize(
    "first",
    [
        member(b"a", b"12345"),
        member(b"a/b/c", b"123") + link(b"keep", b"a/b/c"),
        symlink(b"a", b"somewhere"),
        symlink(b"a", b"."),
        device(b"a"),
        device(b"a", b"6", (0, 0)),
        member(b".wh.a"),
        member(b"a", b"12345") + link(b"keep", b"a"),
    ],
)
@pytest.mark.parametrize(
    "second",
    [
        member(b"/a", b"new"),
        directory(b"/a/", mtime=7),
        symlink(b"/a", b"target"),
        device(b"/a"),
        member(b"other", b"new") + link(b"/a", b"other"),
    ],
)
def test_everything_else_is_replaced(root, first, second):
    applied = unpack(root, first + second + END)
    entry = snapshot(root)[b"a"]
    kinds = {b"5": stat.S_IFDIR, b"2": stat.S_IFLNK, b"3": stat.S_IFCHR}
    assert stat.S_IFMT(entry.mode) == kinds.get(second[156:157], stat.S_IFREG)
    assert applied.size_bytes == size_of(root)


def test_a_deep_tree_is_replaced(root):
    """Deeper than a process may have descriptors."""
    data = directory(b"a/") + pax({b"path": b"a/" + b"d/" * 1900 + b"f"}) + member(b"f", b"x")
    unpack(root, data + member(b"/a", b"new") + END)
    assert names(root) == [b"a"]


def test_duplicate_names_are_refused_by_the_observer(root):
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    data = member(b"a", b"first") + member(b"./a", b"second") + END
    with open(os.devnull, "wb") as out, pytest.raises(DuplicatePath):
        apply_layer(TarReader([data], observer=TarSplitWriter(out)), fd)
    os.close(fd)
    assert snapshot(root)[b"a"].content == b"first"


# -- setgid directories and default ACLs


def test_setgid_parents_change_nothing(root):
    data = directory(b"e/", mode=0o2775, gid=50)
    data += member(b"e/f", b"x") + directory(b"e/g/") + member(b"e/g/h", b"x") + symlink(b"e/s", b"x")
    data += device(b"e/n") + member(b"e/implied/x", b"1") + member(b"e/.wh.w") + END
    unpack(root, data)
    found = snapshot(root)
    for name in (b"e/f", b"e/g", b"e/g/h", b"e/s", b"e/n", b"e/implied/x", b"e/implied", b"e/w"):
        assert (found[name].uid, found[name].gid) == (0, 0), name
    assert found[b"e/g"].mode == 0o40755
    assert found[b"e/implied"].mode == 0o42755  # as in Docker, whose mkdir inherits it too


def test_a_directory_that_becomes_setgid(root):
    data = directory(b"e/") + member(b"e/f") + directory(b"/e/", mode=0o2775, gid=50) + member(b"e/g") + END
    unpack(root, data)
    assert snapshot(root)[b"e/g"].gid == 0


def test_a_root_of_another_group(root):
    root.mkdir()
    os.chown(root, 0, 50)
    os.chmod(root, 0o2755)
    fd = os.open(root, os.O_RDONLY)
    apply_layer(TarReader([member(b"f", b"x") + directory(b"d/") + END]), fd)
    os.close(fd)
    found = snapshot(root)
    assert (found[b"f"].gid, found[b"d"].gid, found[b"d"].mode) == (0, 0, 0o40755)


ACL = struct.pack(
    "<I" + "HHI" * 5,
    *(2, 1, 7, 2**32 - 1, 2, 7, 1000, 4, 5, 2**32 - 1, 0x10, 7, 2**32 - 1, 0x20, 5, 2**32 - 1),
)


def test_default_acls_change_no_modes(root):
    data = xattr(b"system.posix_acl_default", ACL) + directory(b"d/")
    data += (
        member(b"d/f", b"1", mode=0o666)
        + directory(b"d/e/", mode=0o777)
        + member(b"d/e/implied/g", mode=0o622)
    )
    unpack(root, data + END)
    found = snapshot(root)
    assert [stat.S_IMODE(found[name].mode) for name in (b"d/f", b"d/e", b"d/e/implied/g")] == [
        0o666,
        0o777,
        0o622,
    ]


def test_a_default_acl_of_the_root(root):
    root.mkdir()
    os.setxattr(root, "system.posix_acl_default", ACL)
    fd = os.open(root, os.O_RDONLY)
    apply_layer(TarReader([member(b"f", b"x", mode=0o666) + directory(b"d/", mode=0o777) + END]), fd)
    os.close(fd)
    found = snapshot(root)
    assert (found[b"f"].mode, found[b"d"].mode) == (0o100666, 0o40777)


# -- attributes


def test_attributes_of_every_type_and_namespace(root):
    data = xattr(b"user.a", b"1") + member(b"f", b"1", mode=0o444)
    data += xattr(b"user.d", b"2") + directory(b"d/", mode=0o2555, uid=4)
    data += (
        xattr(b"trusted.l", b"3\0") + symlink(b"s", b"../secret") + xattr(b"trusted.n", b"") + device(b"n")
    )
    data += xattr(b"security.capability", CAPABILITY) + member(b"c", b"1", mode=0o755, uid=5)
    data += xattr(b"user.h", b"4") + link(b"h", b"f", mode=0o400) + END
    applied = unpack(root, data)
    found = snapshot(root)
    assert found[b"f"].xattrs == {"user.a": b"1", "user.h": b"4"}
    assert found[b"d"].xattrs == {"user.d": b"2"}
    assert found[b"s"].xattrs == {"trusted.l": b"3\0"}
    assert found[b"n"].xattrs == {"trusted.n": b""}
    assert found[b"c"].xattrs == {"security.capability": CAPABILITY}
    assert (stat.S_IMODE(found[b"f"].mode), found[b"d"].mode) == (0o400, 0o42555)
    assert applied.warnings == ()


def test_attributes_the_file_system_does_not_take(root):
    data = (
        xattr(b"unknown.namespace", b"1") + member(b"f") + xattr(b"user.x", b"1") + symlink(b"s", b"f") + END
    )
    applied = unpack(root, data)
    assert applied.warnings == (
        "/f: ignored attribute unknown.namespace: operation not supported",
        "/s: ignored attribute user.x: operation not permitted",
    )


@pytest.mark.parametrize(
    "name",
    [
        b"trusted.overlay.opaque",
        b"trusted.overlay.redirect",
        b"trusted.overlay.metacopy",
        b"user.overlay.opaque",
    ],
)
def test_attributes_of_overlayfs_are_left_out(root, name):
    applied = unpack(root, xattr(name, b"y") + directory(b"d/") + xattr(name, b"/etc") + member(b"f") + END)
    assert all(entry.xattrs == {} for entry in snapshot(root).values())
    assert len(applied.warnings) == 2


def test_warnings_do_not_grow_without_end(root):
    flood = b"".join(xattr(b"user.overlay.x", b"") + member(b"f%d" % number) for number in range(300))
    assert len(unpack(root, flood + END).warnings) == 100


def test_the_working_directory_stays(root, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    unpack(root, xattr(b"trusted.l", b"3") + symlink(b"s", b"f") + END)
    assert os.getcwd() == str(tmp_path)


def test_attributes_that_do_not_fit(root):
    with pytest.raises(DiskFull, match="no space left on device") as caught:
        unpack(root, xattr(b"user.n", b"x" * 20000) + member(b"f") + END)
    assert caught.value.hint
    with pytest.raises(InvalidLayer, match="argument list too long"):
        unpack(root, xattr(b"user.n", b"x" * 70000) + member(b"f") + END)


# -- times


@pytest.mark.parametrize(
    ("mtime", "seconds"),
    [(0, 0), (1, 1), (-5, 0), (2**33, 2**33), (9223372036, 9223372036), (9223372037, 0), (2**62, 0)],
)
def test_times_outside_the_bounds_become_0(root, mtime, seconds):
    data = member(b"f", mtime=mtime) + directory(b"d/", mtime=mtime) + symlink(b"s", b"f", mtime=mtime)
    unpack(root, data + device(b"n", mtime=mtime) + END)
    found = snapshot(root)
    for name in (b"f", b"d", b"s", b"n"):
        assert found[name].mtime_ns == seconds * 1_000_000_000


def test_nanoseconds_and_access_times(root):
    data = pax({b"mtime": b"1234567890.987654321", b"atime": b"1.5"}) + member(b"f", b"x")
    data += pax({b"mtime": b"5.000000001", b"atime": b"9.25"}) + directory(b"d/") + END
    unpack(root, data)
    first, second = os.stat(root / "f"), os.stat(root / "d")
    assert (first.st_mtime_ns, first.st_atime_ns) == (1234567890987654321, 1234567890987654321)
    assert (second.st_mtime_ns, second.st_atime_ns) == (5_000_000_001, 9_250_000_000)


def test_times_of_directories_come_last(root):
    data = directory(b"d/", mtime=5) + member(b"d/f") + directory(b"d/e/", mtime=6) + member(b"d/e/.wh.x")
    unpack(root, data + symlink(b"s", b"d") + member(b"s/late") + END)
    found = snapshot(root)
    assert (found[b"d"].mtime_ns, found[b"d/e"].mtime_ns) == (5_000_000_000, 6_000_000_000)


def test_a_directory_that_is_gone_at_the_end(root):
    data = directory(b"p/") + directory(b"p/d/") + symlink(b"s", b"p") + member(b"/p", b"file") + END
    with pytest.raises(InvalidLayer, match="chtimes /p/d: not a directory"):
        unpack(root, data)


def test_a_link_where_a_directory_was(root):
    """Docker follows it; inside the root."""
    data = directory(b"q/", mtime=3) + directory(b"p/") + directory(b"p/d/", mtime=77) + symlink(b"s", b"p")
    unpack(root, data + symlink(b"s/d", b"/q", mtime=5) + END)
    found = snapshot(root)
    assert (found[b"p/d"].mtime_ns, found[b"q"].mtime_ns) == (5_000_000_000, 77_000_000_000)
    with pytest.raises(InvalidLayer, match="chtimes /p/d: no such file or directory"):
        unpack(root, data + symlink(b"s/d", b"/none") + END)


# -- whiteouts


def test_a_whiteout_is_a_device(root):
    applied = unpack(root, member(b"d/.wh.gone", b"ignored content", mode=0o644, uid=3, gid=4) + END)
    entry = snapshot(root)[b"d/gone"]
    assert (entry.mode, entry.device, entry.uid, entry.gid, entry.size) == (WHITEOUT, 0, 3, 4, 0)
    assert names(root) == [b"d", b"d/gone"]
    assert applied.size_bytes == 0


@pytest.mark.parametrize("kind", [b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"Z"])
def test_the_name_makes_the_whiteout_not_the_type(root, kind):
    unpack(root, member(b".wh.gone", kind=kind, linkname=b"x") + END)
    assert snapshot(root)[b"gone"].mode == WHITEOUT


def test_a_file_replaces_a_whiteout(root):
    unpack(root, member(b".wh.f") + member(b"f", b"12345") + END)
    assert snapshot(root)[b"f"].content == b"12345"


def test_opaque_directories(root):
    data = directory(b"d/") + member(b"d/before") + member(b"d/.wh..wh..opq") + member(b"d/after")
    data += member(b"implied/.wh..wh..opq") + symlink(b"s", b"d") + END
    unpack(root, data)
    found = snapshot(root)
    assert found[b"d"].xattrs == found[b"implied"].xattrs == {"trusted.overlay.opaque": b"y"}
    assert names(root) == [b"d", b"d/after", b"d/before", b"implied", b"s"]
    unpack(
        root,
        directory(b"d/") + symlink(b"s", b"d") + member(b"s/.wh..wh..opq") + member(b".wh..wh..opq") + END,
    )
    found = snapshot(root)
    assert found[b"d"].xattrs == found[b""].xattrs == {"trusted.overlay.opaque": b"y"}


def test_whiteouts_through_links_stay_inside(root):
    unpack(root, directory(b"d/") + symlink(b"s", b"/d") + member(b"s/.wh.gone") + END)
    assert snapshot(root)[b"d/gone"].mode == WHITEOUT


def test_what_aufs_left_is_not_special(root):
    unpack(root, directory(b".wh..wh.plnk/") + member(b".wh..wh.plnk/1", b"x") + END)
    assert names(root) == [b".wh..wh.plnk", b".wh..wh.plnk/1", b".wh.plnk"]
    unpack(root, member(b".wh..wh.plnk/1", b"x") + directory(b".wh..wh.plnk/") + END)
    assert names(root) == [b".wh..wh.plnk", b".wh..wh.plnk/1", b".wh.plnk"]
    unpack(root, member(b".wh.x/1", b"x") + member(b".wh.x") + END)
    assert names(root) == [b"x"]


# -- limits and failures


def test_limits(root):
    with pytest.raises(LayerTooLarge, match="more than 2 members"):
        unpack(root, member(b"a") + member(b"b") + member(b"c") + END, limits=ApplyLimits(members=2))
    with pytest.raises(LayerTooLarge, match="larger than 10 bytes"):
        unpack(
            root, member(b"a", b"123456") + member(b"b", b"123456") + END, limits=ApplyLimits(size_bytes=10)
        )
    unpack(root, member(b"a", b"12345") + member(b"b", b"12345") + END, limits=ApplyLimits(size_bytes=10))


def test_descriptors_of_directories_are_few_and_closed(root):
    data = b"".join(member(b"d%d/e/f" % number, b"x") for number in range(50))
    data += b"".join(link(b"d%d/g" % number, b"d%d/e/f" % (49 - number)) for number in range(50))
    before = len(os.listdir("/proc/self/fd"))
    for limit in (2, 3, 128):
        unpack(root, data + END, limits=ApplyLimits(directories=limit))
        assert len(names(root)) == 200
        assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(InvalidTar):
        unpack(root, data + b"junk" * 128)
    assert len(os.listdir("/proc/self/fd")) == before


def test_errors_of_the_source_are_not_taken_for_the_layers(root):
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)

    def chunks():
        yield member(b"f", bytes(5000))[:1000]
        raise OSError(errno.EIO, "the blob's disk")

    with pytest.raises(OSError, match="the blob's disk"):
        apply_layer(TarReader(chunks()), fd)
    os.close(fd)


def test_disk_full(tmp_path_factory):
    """A real full file system."""
    from onggi.linux.mount_calls import MountError, mount, unmount

    top = tmp_path_factory.mktemp("small")
    try:
        mount("tmpfs", top, "tmpfs", 0, "size=64k,mode=755")
    except MountError as error:
        pytest.fail(str(error))
    try:
        with pytest.raises(DiskFull, match="write /f: no space left on device"):
            unpack(top / "root", member(b"f", bytes(1 << 20)) + END)
    finally:
        unmount(top)


def test_a_read_only_disk(tmp_path):
    from onggi.linux.mount import bind_mount, unmount

    (tmp_path / "root").mkdir()
    bind_mount(tmp_path / "root", tmp_path / "root", read_only=True)
    fd = os.open(tmp_path / "root", os.O_RDONLY)
    try:
        with pytest.raises(HostRefuses, match="open /f: read-only file system"):
            apply_layer(TarReader([member(b"f") + END]), fd)
    finally:
        os.close(fd)
        unmount(tmp_path / "root")


def test_names_of_errors_stay_short():
    assert len(metadata.printable(b"n" * 4000)) < 500


# -- anything


@st.composite
def hostile(draw):
    """Members that aim at each other."""
    path = st.lists(
        st.sampled_from([b"a", b"b", b"..", b".", b"", b"secret", b".wh.a", b".wh..wh..opq"]), max_size=4
    )
    name = draw(path.map(b"/".join))
    target = draw(path.map(b"/".join))
    fields = {"mode": draw(st.sampled_from([0o755, 0o4777, 0])), "uid": draw(st.sampled_from([0, 5]))}
    kind = draw(st.sampled_from([b"0", b"1", b"2", b"2", b"3", b"5", b"5", b"6"]))
    return member(name, b"xyz" if kind == b"0" else b"", kind, linkname=target, **fields)


@given(st.lists(hostile(), max_size=8))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_archive_gets_out_and_sizes_are_right(tmp_path_factory, members):
    top = tmp_path_factory.mktemp("any")
    (top / "secret").write_text("untouched")
    before = os.lstat(top / "secret")
    try:
        applied = unpack(top / "root", b"".join(members) + END, limits=ApplyLimits(directories=2))
    except InvalidLayer:
        pass
    else:
        assert applied.size_bytes == size_of(top / "root")
    assert sorted(os.listdir(top)) == ["root", "secret"]
    after = os.lstat(top / "secret")
    assert (before.st_ino, before.st_mode, before.st_uid, before.st_nlink, before.st_mtime_ns) == (
        after.st_ino,
        after.st_mode,
        after.st_uid,
        after.st_nlink,
        after.st_mtime_ns,
    )


def test_old_sparse_members_are_refused_as_docker_refuses_them(root):
    data = header(
        b"f", b"S", 3, magic=b"ustar  \0", patch={386: octal(1, 12) + octal(3, 12), 483: octal(9, 12)}
    )
    with pytest.raises(InvalidLayer, match="unhandled tar header type 83"):
        unpack(root, data + b"abc".ljust(512, b"\0") + END)

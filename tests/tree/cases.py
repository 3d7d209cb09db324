"""Small archives, each with one thing that Docker does in its own way."""

from __future__ import annotations

import struct

from tests.archive.tar_blocks import (
    END,
    GNU,
    V7,
    directory,
    gnu_long,
    header,
    link,
    member,
    octal,
    padded,
    pax,
    symlink,
    xattr,
)

__all__ = ["CASES"]

_CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
_ALL = 2**32 - 1
_ACL = struct.pack("<I" + "HHI" * 5, *(2, 1, 7, _ALL, 2, 7, 1000, 4, 5, _ALL, 0x10, 7, _ALL, 0x20, 5, _ALL))


def _device(name: bytes, kind: bytes = b"3", numbers: tuple[int, int] = (1, 3), **fields: int) -> bytes:
    return member(name, kind=kind, device=numbers, **fields)


_TIMES = (0, 1, -5, 2**33, 9223372036, 9223372037, 2**40, 2**62)
_MODES = (0, 0o7777, 0o100644, 0o40755, 0o222, 0o1644, 0o2755, 0o4755)
_SPARSE = {b"GNU.sparse.name": b"sp", b"GNU.sparse.size": b"20", b"GNU.sparse.numblocks": b"1"}

_NAMES = {
    "dotdot": member(b"../evil", b"1") + member(b"/abs/f", b"2") + member(b"a/../../ok", b"3"),
    "odd names": member(b"...") + member(b"..x") + member(b"a//b", b"2") + member(b"c/./d", b"2"),
    "root ./": directory(b"./", mode=0o700, uid=9, mtime=5) + member(b"./x", b"1"),
    "root /": directory(b"/", mode=0o700, uid=9, mtime=5) + member(b"/x", b"1"),
    "root ..": directory(b"..", mode=0o700, uid=9, mtime=5) + member(b"x", b"1"),
    "root as a file": member(b"./", b"data") + member(b"x", b"1"),
    "root / as a file": member(b"x", b"1") + member(b"/", b"data"),
    "empty name": member(b"", b"data") + member(b"x", b"1"),
    "implied": member(b"p/q/r/f", b"1"),
    "duplicates": member(b"a", b"1") + member(b"./a", b"2"),
    "duplicate directories": directory(b"a/") + directory(b"a"),
    "clamped duplicates": member(b"a", b"1") + member(b"/a", b"2"),
    "names that are no UTF-8": member(b'f\xff<>&"\\\n\x01', b"1") + member("ü\u2028<".encode(), b"1"),
    "name of 256": pax({b"path": b"n" * 256}) + member(b"f", b"1"),
    "path of 4096": pax({b"path": b"/".join([b"n" * 199] * 20) + b"/" + b"z" * 95}) + member(b"f", b"1"),
}

_LINKS = {
    "linked parent": directory(b"etc/") + symlink(b"s", b"/etc") + member(b"s/x", b"1") + member(b"s/y/z"),
    "linked parent upwards": directory(b"d/") + symlink(b"d/s", b"../../../..") + member(b"d/s/x", b"1"),
    "dangling parent": symlink(b"s", b"/etc") + member(b"s/x", b"1"),
    "dangling grandparent": symlink(b"s", b"/etc") + member(b"s/x/y", b"1"),
    "loop": symlink(b"a", b"b") + symlink(b"b", b"a") + member(b"a/x", b"1"),
    "file as parent": member(b"f", b"1") + member(b"f/x", b"1"),
    "file as grandparent": member(b"f", b"1") + member(b"f/x/y", b"1"),
    "targets": symlink(b"s", b"../../../x") + symlink(b"t", b"/etc/passwd") + symlink(b"u", b"u" * 100),
    "empty target": symlink(b"s", b""),
    "hard link": member(b"a", b"1") + link(b"h", b"a", mode=0o600, uid=5) + link(b"i", b"../../a"),
    "hard link to nothing": link(b"h", b"nope"),
    "hard link to itself": member(b"a", b"1") + link(b"/a", b"a"),
    "hard link to a link": symlink(b"s", b"x", uid=1) + link(b"h", b"s", uid=5, gid=6, mode=0o600),
    "hard link's metadata": member(b"a", b"1", mode=0o4755, uid=12, mtime=100) + link(b"h", b"a", mtime=200),
    "hard link to a directory": directory(b"d/") + link(b"h", b"d"),
    "hard link to the root": link(b"h", b"/"),
    "hard link by a link": directory(b"d/") + member(b"d/a") + symlink(b"s", b"d") + link(b"h", b"s/a"),
    "hard link and capabilities": xattr(b"security.capability", _CAPABILITY)
    + member(b"a", b"1", mode=0o755)
    + link(b"h", b"a", mode=0o755),
}

_REPLACED = {
    "directories merge": directory(b"a/") + member(b"a/f", b"1") + directory(b"/a/", mode=0o711, uid=3),
    "file over directory": directory(b"a/") + member(b"a/f", b"xx") + member(b"/a", b"yyy"),
    "directory over file": member(b"a", b"xx") + directory(b"/a"),
    "gone at the end": directory(b"a/") + directory(b"a/b/") + member(b"/a", b"x"),
    "dangling at the end": directory(b"a/") + symlink(b"/a", b"nowhere"),
    "file by another name": directory(b"p/")
    + directory(b"p/d/")
    + symlink(b"s", b"p")
    + member(b"s/d", b"x"),
    "link by another name": directory(b"p/")
    + directory(b"p/d/", mtime=77)
    + symlink(b"s", b"p")
    + directory(b"q/")
    + symlink(b"s/d", b"/q"),
    "setgid": directory(b"e/", mode=0o2775, gid=50)
    + member(b"e/f", b"1")
    + directory(b"e/g/")
    + member(b"e/g/h", b"1")
    + symlink(b"e/s", b"x")
    + _device(b"e/n")
    + member(b"e/imp/x", b"1"),
    "setgid later": directory(b"e/")
    + member(b"e/f")
    + directory(b"/e/", mode=0o2775, gid=50)
    + member(b"e/g"),
}

_WHITEOUTS = {
    "whiteout": member(b"d/.wh.x", b"", uid=3, gid=4),
    "opaque": directory(b"d/") + member(b"d/.wh..wh..opq") + member(b"d/f", b"1"),
    "opaque, implied": member(b"d/.wh..wh..opq"),
    "opaque root": member(b".wh..wh..opq"),
    "opaque by a link": directory(b"d/") + symlink(b"s", b"d") + member(b"s/.wh..wh..opq"),
    "whiteout after its file": member(b"f", b"1") + member(b".wh.f"),
    "whiteout before its file": member(b".wh.f") + member(b"f", b"12345"),
    "aufs": directory(b".wh..wh.plnk/") + member(b".wh..wh.plnk/1", b"1"),
    "aufs, the other way": member(b".wh..wh.plnk/1", b"1") + directory(b".wh..wh.plnk/"),
    "implied marker": member(b".wh.x/1", b"1") + member(b".wh.x"),
    "marker of nothing": member(b"d/.wh."),
    "marker of dot": member(b"d/.wh.."),
    "marker of dots": member(b"d/.wh..."),
    "marker as links": member(b"a", b"1") + link(b".wh.x", b"a") + symlink(b".wh.y", b"a"),
    "below a whiteout": member(b".wh.d") + member(b"d/f", b"1"),
}

_METADATA = {
    "modes": b"".join(
        member(b"m%o" % mode, b"1", mode=mode) + directory(b"d%o" % mode, mode=mode) for mode in _MODES
    ),
    "owners": pax({b"uid": b"3000000", b"gid": b"4000000"}) + member(b"f") + member(b"g", uid=2**31, gid=-1),
    "negative owner": pax({b"uid": b"-5"}) + member(b"f", b"1"),
    "devices": _device(b"null", mode=0o666) + _device(b"b", b"4", (259, 70000), uid=1) + _device(b"p", b"6"),
    "device numbers": _device(b"x", numbers=(0x1FFF, 0x1FFFFF)),
    "times": b"".join(
        member(b"f%d" % n, b"1", mtime=t) + directory(b"d%d" % n, mtime=t) for n, t in enumerate(_TIMES)
    ),
    "times of links": b"".join(symlink(b"m%d" % t, b"1", mtime=t) for t in (0, 1, 2**33)),
    "fractions": pax({b"mtime": b"1234567890.987654321999"})
    + member(b"f")
    + pax({b"mtime": b"12."})
    + member(b"h"),
    "access time": pax({b"atime": b"2000000000.5", b"mtime": b"1.25"}) + directory(b"d/"),
    "attributes": xattr(b"user.a", b"1")
    + member(b"f", b"1")
    + xattr(b"user.d", b"2")
    + directory(b"d/")
    + xattr(b"trusted.l", b"3")
    + symlink(b"s", b"f")
    + xattr(b"trusted.n", b"4")
    + _device(b"n"),
    "attribute not permitted": xattr(b"user.bad", b"4") + symlink(b"s", b"f"),
    "attribute not known": xattr(b"foo", b"4") + member(b"f"),
    "attribute of libarchive": pax({b"LIBARCHIVE.xattr.user.x": b"MQ"}) + member(b"f", b"1"),
    "broken capability": xattr(b"security.capability", b"xx") + member(b"f", b"1"),
    "capability": xattr(b"security.capability", _CAPABILITY) + member(b"f", b"1", mode=0o755, uid=5),
    "default ACL": xattr(b"system.posix_acl_default", _ACL)
    + directory(b"d/")
    + member(b"d/f", b"1", mode=0o666)
    + directory(b"d/e2", mode=0o700)
    + member(b"d/e/imp/g", b"1", mode=0o666),
}

_FORMATS = {
    "type Z": member(b"x", kind=b"Z"),
    "type 7": member(b"x", b"abc", kind=b"7"),
    "old types": member(b"x", b"abc", kind=b"\0")
    + member(b"d/", kind=b"\0", mode=0o755)
    + member(b"y/", b"abc"),
    "global header": pax({b"comment": b"x", b"path": b"zz"}, b"g") + member(b"x", b"1"),
    "two global headers": pax({b"comment": b"x"}, b"g") * 2 + member(b"x", b"1"),
    "global header drops the other": pax({b"path": b"other"}) + pax({b"comment": b"x"}, b"g") + member(b"x"),
    "global header with junk": pax({b"mtime": b"abc"}, b"g") + member(b"x", b"1"),
    "pax size": pax({b"size": b"3"}) + header(b"f", b"0", 0) + padded(b"abc"),
    "pax path": pax({b"path": b"d" * 200 + b"/" + b"e" * 200, b"linkpath": b"t" * 300}) + symlink(b"f", b"1"),
    "pax path empty": pax({b"path": b""}) + member(b"f", b"1"),
    "pax path with NUL": pax({b"path": b"a\0b"}) + member(b"f", b"1"),
    "pax time broken": pax({b"mtime": b"12.x"}) + member(b"f", b"1"),
    "pax number broken": pax({b"uid": b"0x5"}) + member(b"f", b"1"),
    "pax record broken": member(b"p", b"999 path=x\n", b"x") + member(b"f", b"1"),
    "gnu names": gnu_long(b"n" * 200) + gnu_long(b"t" * 300, b"K") + symlink(b"f", b"1"),
    "gnu and pax": gnu_long(b"gnu") + pax({b"path": b"pax"}) + member(b"f", b"1"),
    "two pax headers": pax({b"path": b"one", b"mtime": b"5"}) + pax({b"path": b"two"}) + member(b"f", b"1"),
    "pax header at the end": member(b"f", b"1") + pax({b"path": b"one"}),
    "prefix": member(b"f", b"1", prefix=b"some/dir"),
    "gnu time": member(b"f", b"1", magic=GNU, patch={345: octal(2000000000, 12)}),
    "gnu prefix": member(b"f", b"1", magic=GNU, patch={345: b"some/dir"}),
    "star": member(b"f", b"1", patch={345: b"p", 476: octal(7, 12), 488: octal(7, 12), 508: b"tar\0"}),
    "v7": member(b"f", b"1", magic=V7) + member(b"g", b"1", magic=V7, patch={329: b"junk", 345: b"p"}),
    "signed checksum": member(b"f\xff\xfe", b"1", signed=True),
    "checksum": member(b"f", b"1")[:148] + b"0000000\0" + member(b"f", b"1")[156:],
    "spaces in numbers": member(b"f", b"1", patch={100: b"   644 \0", 124: b"          1 "}),
    "negative size": header(b"f", b"0", -5),
    "old sparse": header(b"f", b"S", 0, magic=GNU, patch={483: octal(512, 12)}),
    "sparse, too much": pax(_SPARSE | {b"GNU.sparse.map": b"2,3"}) + member(b"f", b"abcdefg"),
    "sparse, too little": pax(_SPARSE | {b"GNU.sparse.map": b"2,9"}) + member(b"f", b"abcdefg"),
    "sparse version 2": pax({b"GNU.sparse.major": b"2", b"GNU.sparse.minor": b"0"}) + member(b"f", b"abc"),
}

_ENDS = {
    "no end": member(b"f", b"1"),
    "one zero block": member(b"f", b"1") + bytes(512),
    "zero block and more": member(b"f", b"1") + bytes(512) + member(b"g", b"1"),
    "empty": b"",
    "only the end": END,
    "garbage at the end": member(b"f", b"1") + END + b"garbage" * 17,
    "cut content": member(b"f", b"12345")[:514],
    "cut header": member(b"f", b"")[:300],
    "cut zeros": member(b"f", b"1") + bytes(700),
    "junk": b"junk" * 1000,
    "short junk": b"junk",
}

CASES = {
    name: data + END
    for cases in (_NAMES, _LINKS, _REPLACED, _WHITEOUTS, _METADATA, _FORMATS)
    for name, data in cases.items()
} | _ENDS

"""Archives of all dialects for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.archive.tar_blocks import (
    END,
    GNU,
    USTAR,
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
)

# Bytes that matter: separators, dots, HTML, quotes, controls, valid and invalid UTF-8.
_CHARACTERS = st.sampled_from(
    [b"a", b"b", b"/", b".", b"-", b" ", b"<", b'"', b"\\", b"\n", b"\xff", "ü".encode()]
)
names = st.lists(_CHARACTERS, min_size=1, max_size=20).map(b"".join)
long_names = st.lists(_CHARACTERS, min_size=101, max_size=300).map(b"".join)
contents = st.one_of(
    st.just(b""),
    st.binary(max_size=20),
    st.integers(0, 3000).map(lambda size: bytes(range(256)) * (size // 256) + b"x" * (size % 256)),
)
numbers = st.one_of(st.integers(0, 0o7777777), st.integers(2**21, 2**40))
times = st.one_of(st.integers(0, 2**33), st.integers(-(2**40), 2**40))


@st.composite
def _plain(draw: st.DrawFn) -> bytes:
    magic = draw(st.sampled_from([USTAR, GNU, V7]))
    fields = {
        "mode": draw(st.integers(0, 0o7777)),
        "uid": draw(numbers),
        "gid": draw(numbers),
        "mtime": draw(times),
    }
    kind = draw(st.sampled_from([b"0", b"\0", b"5", b"2", b"1", b"3", b"6"]))
    name = draw(names)
    match kind:
        case b"0" | b"\0":
            # A V7 directory has a slash at its end, and no content.
            content = b"" if name[-1:] == b"/" else draw(contents)
            return member(name, content, kind, magic=magic, **fields)
        case b"5":
            return directory(name, magic=magic, **fields)
        case b"2":
            return symlink(name, draw(names), magic=magic, **fields)
        case b"1":
            return link(name, draw(names), magic=magic, **fields)
        case _:
            return member(name, b"", kind, **fields)


@st.composite
def _extended(draw: st.DrawFn) -> bytes:
    records = {b"path": draw(long_names)}
    if draw(st.booleans()):
        records[b"mtime"] = b"1234567890.123456789"
        records[b"SCHILY.xattr.user.x"] = draw(st.binary(max_size=30))
    return pax(records) + member(b"cut", draw(contents))


@st.composite
def _gnu(draw: st.DrawFn) -> bytes:
    return gnu_long(draw(long_names)) + gnu_long(draw(long_names), b"K") + symlink(b"cut", b"cut", magic=GNU)


@st.composite
def _link_with_size(draw: st.DrawFn) -> bytes:
    return header(draw(names), b"1", draw(st.integers(1, 9999)), linkname=b"a")


@st.composite
def _sparse(draw: st.DrawFn) -> bytes:
    data = draw(st.binary(min_size=10, max_size=10))
    match draw(st.sampled_from(["old", "0.0", "0.1", "1.0"])):
        case "old":
            slots = octal(3, 12) + octal(4, 12) + octal(600, 12) + octal(6, 12)
            sizes = {386: slots, 483: octal(9000, 12)}
            return header(draw(names), b"S", len(data), magic=GNU, patch=sizes) + padded(data)
        case "0.0":
            pairs = [(b"3", b"4"), (b"600", b"6")]
            records = [(b"GNU.sparse.size", b"9000"), (b"GNU.sparse.numblocks", b"2")]
            for offset, length in pairs:
                records += [(b"GNU.sparse.offset", offset), (b"GNU.sparse.numbytes", length)]
            return pax(records) + member(draw(names), data)
        case "0.1":
            records = {
                b"GNU.sparse.name": draw(names),
                b"GNU.sparse.size": b"9000",
                b"GNU.sparse.numblocks": b"2",
                b"GNU.sparse.map": b"3,4,600,6",
            }
            return pax(records) + member(b"cut", data)
        case _:
            records = {
                b"GNU.sparse.major": b"1",
                b"GNU.sparse.minor": b"0",
                b"GNU.sparse.name": draw(names),
                b"GNU.sparse.realsize": b"9000",
            }
            return pax(records) + member(b"cut", padded(b"2\n3\n4\n600\n6\n") + data)


_globals = names.map(lambda name: pax({b"comment": b"x"}, b"g", name))
_members = st.one_of(_plain(), _plain(), _extended(), _gnu(), _link_with_size(), _sparse(), _globals)
_tails = st.one_of(
    st.just(END),
    st.just(END),
    st.just(b""),
    st.just(END[:512]),
    st.just(END + bytes(9000)),
    st.binary(max_size=2000).map(lambda garbage: END + garbage),
)
archives = st.tuples(st.lists(_members, max_size=6), _tails).map(lambda parts: b"".join(parts[0]) + parts[1])
"""Whole archives; names may repeat. Ends: none, one block, two, more blocks, garbage."""


def cut(data: bytes, size: int) -> list[bytes]:
    """A stream in chunks of ``size`` bytes."""
    return [data[start : start + size] for start in range(0, len(data), size)]

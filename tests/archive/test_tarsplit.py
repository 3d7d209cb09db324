import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
from binascii import b2a_base64

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onggi.archive import tarsplit
from onggi.archive.tar import TarReader
from onggi.archive.tar_format import clean_path
from onggi.archive.tarsplit import (
    ContentMismatch,
    DuplicatePath,
    FileEntry,
    InvalidTarSplit,
    Segment,
    TarSplitReader,
    assemble,
)
from onggi.archive.tarsplit_writer import TarSplitWriter, gzip_writer
from tests.archive.tar_blocks import END, directory, header, member
from tests.archive.tar_strategies import archives, cut


def disassemble(data, size=0, **options):
    """(tar-split, contents by name) of an archive."""
    out = io.BytesIO()
    reader = TarReader(cut(data, size or max(len(data), 1)), observer=TarSplitWriter(out, **options))
    contents = {}
    for found in reader:
        contents[found.name] = b"".join(reader.read_content())
    return out.getvalue(), contents


def reassemble(split, contents):
    return b"".join(assemble(TarSplitReader(io.BytesIO(split)), lambda name: io.BytesIO(contents[name])))


def entries(split):
    return [json.loads(line) for line in split.splitlines()]


@given(archives, st.integers(1, 3000))
def test_an_archive_comes_back_to_the_byte(data, size):
    names = [clean_path(found.name) for found in TarReader([data])]
    assume(len(set(names)) == len(names))
    split, contents = disassemble(data, size)
    assert reassemble(split, contents) == data
    assert [entry["position"] for entry in entries(split)] == list(range(len(split.splitlines())))


@given(archives)
def test_duplicate_names_are_refused(data):
    names = [clean_path(found.name) for found in TarReader([data])]
    if len(set(names)) < len(names):
        with pytest.raises(DuplicatePath, match="duplicates of file paths not supported"):
            disassemble(data)


@pytest.mark.parametrize("second", [b"a", b"./a", b"a/", b"b/../a"])
def test_duplicates_are_found_before_the_content_is_read(second):
    reader = TarReader(
        [member(b"a", b"1") + member(second, b"2") + END], observer=TarSplitWriter(io.BytesIO())
    )
    with pytest.raises(DuplicatePath):
        for found in reader:
            assert found.name == b"a"


def test_names_that_only_clamp_to_the_same_path_are_not_duplicates():
    disassemble(member(b"a") + member(b"/a") + member(b"../a") + END)


# -- golden vectors (docker-engine.md, appendix A)


def golden_tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        rows = (
            ("b/", tarfile.DIRTYPE, 0o755, b"", ""),
            ("a", tarfile.REGTYPE, 0o644, b"hello", ""),
            ("b/c", tarfile.REGTYPE, 0o644, b"x" * 1000, ""),
            ("b/empty", tarfile.REGTYPE, 0o644, b"", ""),
            (".wh.gone", tarfile.REGTYPE, 0o644, b"", ""),
            ("l<&>", tarfile.SYMTYPE, 0o644, b"", "a"),
        )
        for name, kind, mode, content, target in rows:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.linkname, info.mtime = (
                kind,
                mode,
                len(content),
                target,
                1700000000,
            )
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("trailing", "length", "digest"),
    [
        (True, 13037, "b9971a2b855cd30950d44334078a23bb16ef44c41a15f50ca51cf2bc93a9d5d0"),
        (False, 12999, "afc5a56d18edce8282563df192dff712f6c749a9d8d24f3cb8e8d4a032e8404e"),
    ],
)
@pytest.mark.parametrize("size", [1, 511, 4096, 99999])
def test_what_docker_wrote(trailing, length, digest, size):
    data = golden_tar()
    assert (
        hashlib.sha256(data).hexdigest() == "3a49a7abca8bf3ac62b2257b8dd2ba39792cc747c6b85bcf9239d38e5c3f811a"
    )
    split, contents = disassemble(data, size, trailing_empty_segment=trailing)
    assert (len(split), hashlib.sha256(split).hexdigest()) == (length, digest)
    assert reassemble(split, contents) == data


def committed(name, kind, mode, size, mtime, *, owner, type_bits):
    bits = {b"5": 0o40000, b"0": 0o100000}[kind] if type_bits and b".wh." not in name else 0
    names = {265: owner, 297: owner}
    times = {136: b"%b\0" % mtime}
    return header(name, kind, size, mode=mode | bits, patch=names | times)


@pytest.mark.parametrize(
    ("owner", "type_bits", "diff_id"),
    [
        (b"root", True, "01c484450103b5b8b0bf7b30b0537f3e1c3698b996aacc9429a30fd4a3ecaf23"),
        (b"", True, "b2ccb29f00ff8414bc5cec4756add6b186c550ac34e54077de60620664da7346"),
        (b"", False, "9109091ecc95669fb98abace3097ffc87df693056d361cd95395f475e2bd307e"),
    ],
)
def test_a_layer_of_run_keeps_its_diff_id(owner, type_bits, diff_id):
    style = {"owner": owner, "type_bits": type_bits}
    data = committed(b"etc/", b"5", 0o755, 0, b"15301167172", **style)
    data += committed(b"etc/.wh.group", b"0", 0o600, 0, b"15301167172", **style)
    data += committed(b"hello", b"0", 0o644, 6, b"15301167172", **style) + b"hello\n".ljust(512, b"\0")
    data += END
    assert hashlib.sha256(reassemble(*disassemble(data))).hexdigest() == diff_id


@pytest.mark.parametrize(
    ("owner", "type_bits", "diff_id"),
    [
        (b"root", True, "1f81be580c204eba117e9f931ed11a43b44daa60c678923ef192f72bdd996aeb"),
        (b"", True, "0c159068afabb41e32ca64fff10f460cbbd40152e5d3e4d575347f1109e3277e"),
        (b"", False, "834af71d4c32bdf33eeb89212fd3a62c1b4c4aba48453f604f2758da26c2274a"),
    ],
)
def test_a_layer_of_copy_keeps_its_diff_id(owner, type_bits, diff_id):
    style = {"owner": owner, "type_bits": type_bits}
    data = committed(b"data/", b"5", 0o755, 0, b"15301167172", **style)
    data += committed(b"data/f.txt", b"0", 0o644, 5, b"15301167036", **style) + b"data\n".ljust(512, b"\0")
    data += END
    assert hashlib.sha256(reassemble(*disassemble(data))).hexdigest() == diff_id


# -- lines


def test_names_are_written_as_go_writes_them():
    names = [b"plain-_.~", b'<>&"\\', "ü\u2028".encode(), b"\xff\xfe", b"tab\there", b"\x01\x7f"]
    split, _ = disassemble(b"".join(member(name) for name in names) + END)
    lines = [line for line in split.splitlines() if b'"type":1' in line]
    assert [line.split(b',"payload"')[0].removeprefix(b'{"type":1,') for line in lines] == [
        b'"name":"plain-_.~"',
        b'"name":"\\u003c\\u003e\\u0026\\"\\\\"',
        b'"name":"\xc3\xbc\\u2028"',
        b'"name_raw":"//4="',
        b'"name":"tab\\there"',
        b'"name":"\\u0001\x7f"',
    ]
    read = [entry.name for entry in TarSplitReader(io.BytesIO(split)) if isinstance(entry, FileEntry)]
    assert read == names


def test_an_empty_name_is_left_out():
    split, _ = disassemble(member(b"") + END)
    assert b'{"type":1,"payload":null,"position":1}' in split.splitlines()
    assert FileEntry(b"", 0, None) in list(TarSplitReader(io.BytesIO(split)))


def test_an_empty_stream_has_no_entries_or_docker_20_10s_one():
    assert disassemble(b"")[0] == b""
    assert disassemble(b"", trailing_empty_segment=True)[0] == b'{"type":2,"payload":"","position":0}\n'


def test_other_peoples_json_is_read():
    split = b'{"position": 0, "payload": "YQ==", "type": 2}\n\n'
    split += b'{"type":1,"name":"x","size":0,"payload":null}\n{"type":2,"payload":""}'
    assert list(TarSplitReader(io.BytesIO(split))) == [Segment(b"a"), FileEntry(b"x", 0, None), Segment(b"")]


def test_lines_of_any_length_are_read(monkeypatch):
    entries = [Segment(b"s" * 400_000), FileEntry(b"x", 0, None), Segment(b""), FileEntry(b"y", 5, 7)]
    lines = [
        b'{"type":2,"payload":"%b","position":0}' % b2a_base64(b"s" * 400_000, newline=False),
        b'{"type":1,"name":"x","payload":null,"position":1}',
        b'{"type":2,"payload":"","position":2}',
        b'{"type":1,"name":"y","size":5,"payload":"AAAAAAAAAAc=","position":3}',
    ]
    for end in (b"", b"\n", b"\n\n"):
        assert list(TarSplitReader(io.BytesIO(b"\n".join(lines) + end))) == entries
    assert TarSplitReader(io.BytesIO(b"\n".join(lines))).archive_size() == 400_005
    monkeypatch.setattr(tarsplit, "LINE_LIMIT", 300_000)
    with pytest.raises(InvalidTarSplit, match="a line has more than 300000 bytes"):
        list(TarSplitReader(io.BytesIO(lines[0])))


@pytest.mark.parametrize(
    "line",
    [
        b"junk",
        b"[]",
        b"{}",
        b'{"type":3}',
        b'{"type":2,"payload":"*"}',
        b'{"type":2,"payload":5}',
        b'{"type":1,"name":"x","size":-1}',
        b'{"type":1,"name":"x","size":"1"}',
        b'{"type":1,"name":"x","size":true}',
        b'{"type":1,"name":"x","size":5,"payload":null}',
        b'{"type":1,"name":"x","size":5,"payload":"YQ=="}',
        b'{"type":1,"name_raw":"*","payload":null}',
        b'{"type":2,"payload":"YQ==","position":0',
    ],
)
def test_damaged_lines(line):
    with pytest.raises(InvalidTarSplit, match="line 2"):
        list(TarSplitReader(io.BytesIO(b'{"type":2,"payload":"YQ=="}\n' + line)))


@given(st.binary(max_size=200))
def test_junk_is_an_error_of_ours(data):
    try:
        list(TarSplitReader(io.BytesIO(data)))
    except InvalidTarSplit as error:
        assert "\n" not in error.message


# -- assembling


@pytest.mark.parametrize("content", [b"hellO", b"hell", b"hello!", b""])
def test_a_changed_file_is_noticed(content):
    split, _ = disassemble(member(b"dir/a", b"hello") + END)
    with pytest.raises(ContentMismatch, match='file integrity checksum failed for "dir/a"'):
        reassemble(split, {b"dir/a": content})


def test_files_are_closed():
    split, _ = disassemble(member(b"a", b"hello") + END)
    file = io.BytesIO(b"hello")
    list(assemble(TarSplitReader(io.BytesIO(split)), lambda name: file))
    assert file.closed


def test_members_without_content_are_not_opened():
    def refuse(name, size):
        raise AssertionError(name)

    data = directory(b"d/") + member(b"empty") + header(b"link", b"1", 700, linkname=b"a") + END
    split, _ = disassemble(data)
    assert b"".join(assemble(TarSplitReader(io.BytesIO(split)), refuse)) == data


# -- gzip


@pytest.mark.parametrize("library", ["isal", "zlib"])
def test_the_gzip_file_begins_as_gos(tmp_path, monkeypatch, library):
    if library == "zlib":
        monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    path = tmp_path / "tar-split.json.gz"
    data = golden_tar()
    with open(path, "wb", buffering=0) as file, gzip_writer(file.fileno()) as out:
        list(TarReader(cut(data, 1000), observer=TarSplitWriter(out)))
    written = path.read_bytes()
    assert written[:10] == bytes.fromhex("1f8b08000000000000ff")
    assert gzip.decompress(written) == disassemble(data)[0]


def test_a_gzip_file_of_an_error_has_no_end(tmp_path):
    fd = os.open(tmp_path / "x.gz", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(RuntimeError), gzip_writer(fd) as out:
        out.write(b"data")
        raise RuntimeError("stop")
    os.close(fd)
    with pytest.raises(EOFError):
        gzip.decompress((tmp_path / "x.gz").read_bytes())

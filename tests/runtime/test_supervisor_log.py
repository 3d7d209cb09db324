"""The json-file log by itself: entries as Docker's Go code writes them, long lines, rotation, torn tails."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.runtime.supervisor.log import JsonFile, NoLog, open_log
from onggi.runtime.supervisor.loop import Loop
from onggi.runtime.supervisor.messages import LineSplitter

SECOND = 1_700_000_000_000_000_000


def _written(tmp_path: Path, data: bytes, *, at: int = SECOND) -> list[str]:
    path = tmp_path / "log"
    path.unlink(missing_ok=True)
    log = JsonFile(str(path), max_bytes=0, max_files=1)
    splitter = LineSplitter()
    log.write("stdout", [*splitter.feed(data, at), *splitter.end(at)])
    log.close()
    return [f"{line}\n" for line in path.read_bytes().decode().split("\n")[:-1]]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain\n", r'"plain\n"'),
        (b"no newline", '"no newline"'),
        (b"<a href='x'>&amp;\n", r'"\u003ca href=' + r"'x'\u003e\u0026amp;\n" + '"'),
        (b'tab\tquote"back\\slash\n', r'"tab\tquote\"back\\slash\n"'),
        (b"\x00\x08\x0c\x1b[0m\r\n", r'"\u0000\u0008\u000c\u001b[0m\r\n"'),
        (b"\\b and \\f\n", r'"\\b and \\f\n"'),
        (b"return\rand \\ slash\n", r'"return\rand \\ slash\n"'),
        ("한글 é\n".encode(), r'"한글 é\n"'),
        (b"\xff\xc3\n", r'"\ufffd\ufffd\n"'),
        ("a\u2028b\n".encode(), r'"a\u2028b\n"'),
    ],
)
def test_an_entry(tmp_path: Path, data: bytes, text: str) -> None:
    expected = f'{{"log":{text},"stream":"stdout","time":"2023-11-14T22:13:20Z"}}\n'
    assert _written(tmp_path, data) == [expected]


def test_times_have_no_trailing_zeros(tmp_path: Path) -> None:
    assert '"time":"2023-11-14T22:13:20.12Z"' in _written(tmp_path, b"x\n", at=SECOND + 120_000_000)[0]
    assert '"time":"2023-11-14T22:13:20.000000001Z"' in _written(tmp_path, b"x\n", at=SECOND + 1)[0]


def _pieces(*chunks: bytes) -> list[bytes]:
    splitter = LineSplitter()
    found = [piece for chunk in chunks for piece, _ in splitter.feed(chunk, 1)]
    return found + [piece for piece, _ in splitter.end(2)]


def test_a_long_line_is_cut_after_16_kib() -> None:
    line = b"x" * 40_000 + b"\n"
    assert [len(piece) for piece in _pieces(line)] == [16384, 16384, 40_001 - 32768]
    assert [len(piece) for piece in _pieces(line[:20_000], line[20_000:])] == [16384, 16384, 40_001 - 32768]
    assert _pieces(b"x" * 16384 + b"\n") == [b"x" * 16384, b"\n"]


def test_all_parts_of_a_line_have_the_time_of_the_first() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"be", 5) == []
    assert splitter.feed(b"gun\nnext\nla", 9) == [(b"begun\n", 5), (b"next\n", 9)]
    assert splitter.end(11) == [(b"la", 9)]


@given(st.lists(st.binary(max_size=200).map(lambda data: data.replace(b"\x00", b"\n")), max_size=20))
def test_nothing_is_lost_however_it_comes(chunks: list[bytes]) -> None:
    assert b"".join(_pieces(*chunks)) == b"".join(chunks)


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=200))
def test_every_line_is_one_entry(tmp_path_factory, text: str) -> None:
    directory = tmp_path_factory.mktemp("log")
    entries = [json.loads(line)["log"] for line in _written(directory, f"{text}\n".encode())]
    assert entries == [f"{line}\n" for line in text.split("\n")]


def test_rotation_keeps_the_newest(tmp_path: Path) -> None:
    log = JsonFile(str(tmp_path / "log"), max_bytes=400, max_files=3, compress=True)
    for number in range(40):
        log.write("stdout", [(b"%d\n" % number, SECOND)])
    log.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["log", "log.1.gz", "log.2.gz"]
    texts = [gzip.decompress((tmp_path / f"log.{n}.gz").read_bytes()).decode() for n in (2, 1)]
    texts.append((tmp_path / "log").read_text())
    numbers = [int(json.loads(line)["log"]) for text in texts for line in text.splitlines()]
    assert numbers == list(range(numbers[0], 40))


def test_one_file_only_starts_over(tmp_path: Path) -> None:
    log = JsonFile(str(tmp_path / "log"), max_bytes=80, max_files=1)
    log.write("stdout", [(b"first line of all, quite long\n" * 3, SECOND), (b"last\n", SECOND)])
    assert json.loads((tmp_path / "log").read_text())["log"] == "last\n"
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"log":"a\\n"}\n{"log":"torn')
    log = JsonFile(str(path), max_bytes=0, max_files=1)
    log.write("stderr", [(b"b\n", SECOND)])
    assert [json.loads(line)["log"] for line in path.read_text().splitlines()] == ["a\n", "b\n"]


def test_the_driver_none(tmp_path: Path) -> None:
    log = open_log({"type": "none"}, Loop(), lambda: None)
    log.write("stdout", [(b"x\n", 1)])
    log.close()
    assert isinstance(log, NoLog)

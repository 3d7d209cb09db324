"""The driver ``local``: bytes as dockerd 20.10 wrote them, rotation, torn ends."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.engine.containers.log_entries import decode_local
from onggi.runtime.supervisor.local_log import LocalFile, encode_entry
from onggi.runtime.supervisor.messages import Message

# Written by dockerd 20.10 for "echo hi", and for a "printf end" at the very end.
WHOLE = "000000160a067374646f757410dbd8ebd3859fc1f5181a02686900000016"
PART = (
    "0000005f0a067374646f757410c19cbfe5859fc1f5181a03656e6420012a4412403835306633393338646165"
    "3838626365323238633564316133323662646431373361343463646430323133663437306133613263313735"
    "62333334653138343118010000005f"
)
PART_ID = "850f3938dae88bce228c5d1a326bdd173a44cdd0213f470a3a2c175b334e1841"


def test_entries_as_dockerd_writes_them() -> None:
    (whole,), rest = decode_local(bytes.fromhex(WHOLE))
    assert (whole.stream, whole.data, rest) == ("stdout", b"hi\n", b"")
    assert encode_entry(Message("stdout", b"hi", whole.time_ns)).hex() == WHOLE
    (part,), _ = decode_local(bytes.fromhex(PART))
    assert part.data == b"end"
    assert encode_entry(Message("stdout", b"end", part.time_ns, PART_ID, 1, last=False)).hex() == PART


@given(st.binary(max_size=300), st.integers(0, 2**62), st.booleans(), st.integers(1, 5000), st.booleans())
def test_what_is_written_is_read(line: bytes, time_ns: int, part: bool, ordinal: int, last: bool) -> None:
    message = Message("stderr", line, time_ns, "i" * 64 if part else "", ordinal, last or not part)
    (entry,), rest = decode_local(encode_entry(message))
    assert (entry.stream, entry.time_ns, rest) == ("stderr", time_ns, b"")
    assert entry.data == line + (b"\n" if message.last else b"")


@given(st.binary(max_size=200))
def test_garbage_is_passed_over(data: bytes) -> None:
    decode_local(data)
    decode_local(bytes.fromhex(WHOLE) + data)


def _log(path: Path, **options: object) -> LocalFile:
    settings = {"max_bytes": 0, "max_files": 1, "compress": False, **options}
    return LocalFile(str(path), **settings)  # type: ignore[arg-type]


def _lines(data: bytes) -> list[bytes]:
    return [entry.data for entry in decode_local(data)[0]]


@pytest.mark.parametrize("lost", [1, 5, 20])
def test_a_torn_entry_is_cut_off(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "logs" / "container.log"
    log = _log(path)
    log.write("stdout", [(b"one\ntwo\n", 5)])
    log.close()
    path.write_bytes(path.read_bytes()[:-lost])
    log = _log(path)
    log.write("stdout", [(b"three\n", 5)])
    log.close()
    assert _lines(path.read_bytes()) == [b"one\n", b"three\n"]


def test_rotation_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "container.log"
    log = _log(path, max_bytes=200, max_files=3, compress=True)
    for number in range(60):
        log.write("stdout", [(b"%d\n" % number, 5)])
    log.close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "container.log",
        "container.log.1.gz",
        "container.log.2.gz",
    ]
    files = [gzip.decompress((tmp_path / f"container.log.{n}.gz").read_bytes()) for n in (2, 1)]
    numbers = [int(line) for data in (*files, path.read_bytes()) for line in _lines(data)]
    assert numbers == list(range(numbers[0], 60))

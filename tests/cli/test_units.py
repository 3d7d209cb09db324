"""Texts measured on Docker's own command line (go-units 0.5)."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.cli import units


@pytest.mark.parametrize(
    ("size", "four", "three"),
    [
        (0, "0B", "0B"),
        (22, "22B", "22B"),
        (999, "999B", "999B"),
        (1000, "1kB", "1kB"),
        (1982411, "1.982MB", "1.98MB"),
        (73088009, "73.09MB", "73.1MB"),
        (95443941, "95.44MB", "95.4MB"),
        (999999, "1000kB", "1e+03kB"),
        (1.5e24, "1.5YB", "1.5YB"),
    ],
)
def test_sizes(size: float, four: str, three: str) -> None:
    assert units.human_size(size) == four
    assert units.table_size(size) == three


def test_memory_is_binary() -> None:
    assert units.bytes_size(25276514304) == "23.54GiB"
    assert units.bytes_size(3906404352) == "3.638GiB"


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("10MB", 10_000_000), ("10m", 10_000_000), ("1.5GiB", 1610612736), ("300k/s", 300_000)],
)
def test_parse_size(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "10XB", "nan", "inf", "i", "5i", "k"])
def test_parse_size_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        units.parse_size(text)


@given(st.integers(min_value=1, max_value=10**15))
def test_parse_size_reads_what_human_size_writes(size: int) -> None:
    assert units.parse_size(units.human_size(size)) == pytest.approx(size, rel=0.001)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"),
        (0.9, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5399, "About an hour"),
        (5400, "2 hours"),
        (86400, "24 hours"),
        (86400 * 2, "2 days"),
        (86400 * 14, "2 weeks"),
        (86400 * 60, "2 months"),
        (86400 * 730, "2 years"),
        (86400 * 365 * 10, "10 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert units.human_duration(seconds) == text


def test_ago() -> None:
    assert units.ago(None) == "N/A"
    assert units.ago(time.time() - 4 * 86400) == "4 days ago"


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    monkeypatch.setitem(os.environ, "TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["UTC"], indirect=True)
def test_times_in_utc(zone: str) -> None:
    assert units.go_time(1795487681) == "2026-11-24 02:34:41 +0000 UTC"
    assert units.rfc3339(1795485254.9) == "2026-11-24T01:54:14Z"
    assert units.event_time(1795494566581920558) == "2026-11-24T04:29:26.581920558Z"
    assert units.go_time(None) == units.rfc3339(None) == "N/A"


@pytest.mark.parametrize("zone", ["KST-9"], indirect=True)
def test_times_in_korea(zone: str) -> None:
    assert units.go_time(1795487681) == "2026-11-24 11:34:41 +0900 KST"
    assert units.rfc3339(1795487681) == "2026-11-24T11:34:41+09:00"
    assert units.event_time(1795487681 * 10**9 + 5) == "2026-11-24T11:34:41.000000005+09:00"


def test_short_ids() -> None:
    assert units.short_id("sha256:61018147ec5a4e04fcb8") == "61018147ec5a"
    assert units.short_id("61018147ec5a4e04fcb8") == "61018147ec5a"
    assert units.short_id("<missing>") == "<missing>"


def test_ellipsis_counts_columns() -> None:
    assert units.ellipsis("short", 45) == "short"
    assert units.ellipsis("x" * 45, 45) == "x" * 45
    assert units.ellipsis("x" * 46, 45) == "x" * 44 + "…"
    assert units.ellipsis("한글이름입니다", 8) == "한글이…"
    assert units.ellipsis("한글", 4) == "한글"

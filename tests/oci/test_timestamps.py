"""Times: RFC 3339 by Go's rules, durations, and what --since takes."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onggi.oci.timestamps import (
    ZERO_TIME,
    duration_text,
    format_ns,
    normalise,
    parse_duration_ns,
    parse_moment,
    parse_ns,
    to_unix,
)

SECOND = 10**9
ZERO_NS = -62135596800 * SECOND
LAST_NS = 253402300799 * SECOND + SECOND - 1


@pytest.fixture
def seoul() -> Iterator[None]:
    """Local time nine hours ahead of UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "KST-9"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1969-12-31T23:59:59.999999999Z", -1),
        (ZERO_TIME, ZERO_NS),
        ("2026-11-24T01:53:26.005727854Z", 1795485206 * SECOND + 5727854),
        ("2026-11-24T10:53:26.005727854+09:00", 1795485206 * SECOND + 5727854),
        ("2026-11-23T20:23:26.005727854-05:30", 1795485206 * SECOND + 5727854),
        ("2026-11-24T01:53:26.0057278549999Z", 1795485206 * SECOND + 5727854),
        ("2026-11-24T01:53:26,5Z", 1795485206 * SECOND + SECOND // 2),
        ("2024-02-29T00:00:00Z", 1709164800 * SECOND),
        ("2000-02-29T00:00:00Z", 951782400 * SECOND),
        ("9999-12-31T23:59:59.999999999Z", LAST_NS),
    ],
)
def test_rfc_3339(text: str, ns: int) -> None:
    assert parse_ns(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-24",
        "2026-11-24T01:53Z",
        "2026-11-24T01:53:26",
        "2026-11-24 01:53:26Z",
        "2026-11-24T01:53:26.Z",
        "2026-11-24T01:53:26Z\n",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-11-24T24:00:00Z",
        "2026-11-24T23:60:00Z",
        "2026-11-24T23:59:60Z",
        "2026-11-24T01:53:26+24:00",
        "2026-11-24T01:53:26+0900",
        "٢٠٢٦-11-24T01:53:26Z",
    ],
)
def test_what_is_no_rfc_3339_time(text: str) -> None:
    assert parse_ns(text) is None
    assert normalise(text) is None
    assert to_unix(text) is None


@given(st.integers(ZERO_NS, LAST_NS))
@example(ZERO_NS)
@example(-1)
@example(LAST_NS)
def test_every_nanosecond_survives(ns: int) -> None:
    assert parse_ns(format_ns(ns)) == ns


MINUTE = datetime.timedelta(minutes=1)


@given(st.datetimes(), st.integers(-23 * 60, 23 * 60))
def test_agrees_with_the_standard_library(local: datetime.datetime, offset_minutes: int) -> None:
    moment = local.replace(tzinfo=datetime.timezone(offset_minutes * MINUTE))
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert parse_ns(moment.isoformat()) == (moment - epoch) // datetime.timedelta(microseconds=1) * 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        (ZERO_TIME, None),
        ("0001-01-01T09:00:00+09:00", None),
        ("2026-11-24T01:53:26.005727854Z", "2026-11-24T01:53:26.005727854Z"),
        ("2026-11-24T01:53:26.500Z", "2026-11-24T01:53:26.5Z"),
        ("2026-11-24T01:53:26.000Z", "2026-11-24T01:53:26Z"),
        ("2026-11-24T01:53:26+00:00", "2026-11-24T01:53:26Z"),
        ("2026-11-24T01:53:26-00:00", "2026-11-24T01:53:26Z"),
        ("2026-11-24T01:53:26.10+09:00", "2026-11-24T01:53:26.1+09:00"),
        ("2026-11-24T01:53:26-05:30", "2026-11-24T01:53:26-05:30"),
    ],
)
def test_printed_back_as_go_prints_it(text: str | None, expected: str | None) -> None:
    assert normalise(text) == expected


def test_unix_seconds() -> None:
    assert to_unix("2026-11-24T01:53:26.5Z") == 1795485206.5
    assert to_unix("1970-01-01T00:00:00Z") == 0.0
    assert to_unix(ZERO_TIME) is None
    assert to_unix(None) is None


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0", 0),
        ("-0", 0),
        ("0s", 0),
        ("5s", 5 * SECOND),
        ("+5s", 5 * SECOND),
        ("-5s", -5 * SECOND),
        ("1h30m", 5400 * SECOND),
        ("1.5h", 5400 * SECOND),
        (".5s", SECOND // 2),
        ("5.s", 5 * SECOND),
        ("1m0.5s", 60 * SECOND + SECOND // 2),
        ("100ms", 10**8),
        ("7us", 7000),
        ("7µs", 7000),
        ("7μs", 7000),
        ("3ns", 3),
        ("0.3ns", 0),
    ],
)
def test_go_durations(text: str, ns: int) -> None:
    assert parse_duration_ns(text) == ns


@pytest.mark.parametrize(
    "text", ["", "+", "-", "5", ".s", "s", "5d", "5 s", "--5s", "5s ", "1h-5m", "٥s", "9" * 5000]
)
def test_what_is_no_go_duration(text: str) -> None:
    assert parse_duration_ns(text) is None


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("10m", NOW - 600),
        ("-10m", NOW + 600),
        ("0s", NOW),
        ("0", 0.0),
        ("1795485206", 1795485206.0),
        ("1795485206.25", 1795485206.25),
        ("1795485206.", 1795485206.0),
        ("2026-11-24T01:53:26.5Z", 1795485206.5),
        ("2026-11-24T10:53:26+09:00", 1795485206.0),
        ("2026-11-24T01:53Z", 1795485180.0),
        ("2026-11-24T01Z", 1795482000.0),
        ("2026-11-24Z", 1795478400.0),
        ("2026-11-24+09:00", 1795446000.0),
    ],
)
def test_moments(text: str, moment: float) -> None:
    assert parse_moment(text, NOW) == moment


@pytest.mark.usefixtures("seoul")
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-24", 1795446000.0),
        ("2026-11-24T10", 1795482000.0),
        ("2026-11-24T10:53", 1795485180.0),
        ("2026-11-24T10:53:26", 1795485206.0),
        ("2026-11-24T10:53:26.5", 1795485206.5),
    ],
)
def test_a_moment_without_a_zone_is_local(text: str, moment: float) -> None:
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "24.11.2026",
        "2026-11",
        "2026-02-30",
        "2026-11-24 10:00",
        "2026-11-24T10:53:26+9",
        "1e9",
        "1" * 5000,
    ],
)
def test_what_is_no_moment(text: str) -> None:
    assert parse_moment(text, NOW) is None


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (200_000_000, "200ms"),
        (1_500_000_000, "1.5s"),
        (60_000_000_000, "1m0s"),
        (3_600_500_000_000, "1h0m0.5s"),
        (-90_000_000_000, "-1m30s"),
    ],
)
def test_durations_as_go_prints_them(ns: int, text: str) -> None:
    assert duration_text(ns) == text
    assert parse_duration_ns(text) == ns

"""Collectors of logs by themselves: what goes over the wire, and what happens when the wire breaks."""

from __future__ import annotations

import gzip
import json
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.runtime.collectors import fluentd, gelf, journald, link, syslog
from onggi.runtime.collectors.collector import About, CollectorError
from onggi.runtime.collectors.fluentd import Fluentd
from onggi.runtime.collectors.gelf import Gelf
from onggi.runtime.collectors.journald import Journald, field_name
from onggi.runtime.collectors.msgpack import EventTime, pack, unpack_text_map
from onggi.runtime.collectors.splunk import Splunk
from onggi.runtime.collectors.syslog import Syslog
from onggi.runtime.supervisor.messages import Message
from tests.peers.listeners import Datagrams, Events, Stream, closing, unpack
from tests.peers.processes import free_port, wait_until
from tests.registry.certificates import Issuer

MOMENT = 1_700_000_000_123_456_789
ID = "ab" * 32


def about(**attributes: str) -> About:
    return About(
        {
            "id": ID,
            "name": "web",
            "image_id": "sha256:" + "c" * 64,
            "image_name": "box",
            "command": "sh -c x",
            "created": "2026-01-01T00:00:00Z",
            "tag": "tag",
            "attributes": attributes,
        }
    )


def out(line: bytes = b"text", **more: object) -> Message:
    return Message("stdout", line, MOMENT, **more)  # type: ignore[arg-type]


# --- syslog -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("", r"<30>Nov 14 \d\d:13:20 tag\[{pid}\]: text\n"),
        ("rfc3164", r"<30>Nov 14 \d\d:13:20 {host} tag\[{pid}\]: text\n"),
        ("rfc5424", r"<30>1 2023-11-1\dT\d\d:\d3:20\S+ {host} tag {pid} tag - text\n"),
        ("rfc5424micro", r"<30>1 2023-11-1\dT\d\d:\d3:20.123456\S+ {host} tag {pid} tag - text\n"),
    ],
)
def test_syslog_formats(format: str, expected: str) -> None:
    with closing(Datagrams()) as listener:
        collector = Syslog(about(), {"syslog-address": f"udp://{listener.address}", "syslog-format": format})
        collector.open()
        collector.send(out())
        collector.send(out(b""))
        collector.send(Message("stderr", b"bad", MOMENT))
        first, second = listener.wait(2)
        pattern = expected.replace("{pid}", str(os.getpid())).replace(
            "{host}", re.escape(os.uname().nodename)
        )
        assert re.fullmatch(pattern, first.decode())
        assert second.startswith(b"<27>")
        collector.close()


def test_syslog_by_tls_frames_rfc5424(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    ca = issuer.certificate
    with closing(Stream(tls=issuer.server("localhost"))) as listener:
        address = f"tcp+tls://localhost:{listener.address.rpartition(':')[2]}"
        options = {"syslog-address": address, "syslog-format": "rfc5424", "syslog-tls-ca-cert": str(ca)}
        collector = Syslog(about(), options)
        collector.open()
        collector.send(out())
        got = listener.wait(b"text\n").decode()
        size, _, rest = got.partition(" ")
        assert len(rest) == int(size)
        collector.close()
        stranger = Syslog(about(), {"syslog-address": address})
        with pytest.raises(CollectorError):
            stranger.open()
        careless = Syslog(about(), {"syslog-address": address, "syslog-tls-skip-verify": "1"})
        careless.open()
        careless.close()
    with pytest.raises(CollectorError, match="could not read certificate /nope"):
        Syslog(about(), {"syslog-address": address, "syslog-tls-ca-cert": "/nope"})


def test_syslog_finds_a_server_that_came_back() -> None:
    port = free_port()
    listener = Stream(port=port)
    collector = Syslog(about(), {"syslog-address": f"tcp://127.0.0.1:{port}"})
    collector.open()
    collector.send(out(b"one"))
    listener.wait(b"one\n")
    listener.close()
    for _ in range(3):  # the first after a break may seem to go out
        collector.send(out(b"lost"))
    begun = time.monotonic()
    for _ in range(1000):
        collector.send(out(b"lost"))
    assert time.monotonic() - begun < 5  # nobody waits for a server that is not there
    with closing(Stream(port=port)) as again:
        time.sleep(1.1)
        collector.send(out(b"two"))
        again.wait(b"two\n")
    collector.close()


def test_syslog_gives_up_on_who_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_TIMEOUT_S", 0.2)
    with closing(Stream(reads=False)) as listener:
        collector = Syslog(about(), {"syslog-address": f"tcp://{listener.address}"})
        collector.open()
        begun = time.monotonic()
        while time.monotonic() - begun < 1.5:
            collector.send(out(b"x" * 16000))
        collector.close()


def test_addresses() -> None:
    assert syslog.parse_address("tcp://h") == ("tcp", "h:514")
    assert syslog.parse_address("udp://[::1]:5") == ("udp", "[::1]:5")
    assert gelf.parse_address("udp://h:1") == ("udp", "h:1")
    assert fluentd.parse_address("") == ("tcp", "127.0.0.1:24224")
    assert fluentd.parse_address("h") == ("tcp", "h:24224")
    assert fluentd.parse_address("unix:///s") == ("unix", "/s")
    assert [syslog.parse_facility(text) for text in ("", "kern", "local7", "5")] == [3, 0, 23, 5]
    for text in ("nope", "24", "-1"):
        with pytest.raises(ValueError, match="invalid syslog facility"):
            syslog.parse_facility(text)


# --- gelf ---------------------------------------------------------------------------------------


def test_gelf() -> None:
    with closing(Datagrams()) as listener:
        collector = Gelf(about(a="1", _b="2"), {"gelf-address": f"udp://{listener.address}"})
        collector.open()
        collector.send(out(b"\xff<x>"))
        (packet,) = listener.wait(1)
        document = json.loads(gzip.decompress(packet))
        assert document["short_message"] == "\ufffd<x>"
        assert (document["timestamp"], document["level"], document["_a"], document["_b"]) == (
            1700000000.123,
            6,
            "1",
            "2",
        )
        collector.send(out(os.urandom(400_000).hex().encode()))
        collector.send(out(b"after"))
        wait_until(lambda: len(listener.received) == 2, "the one after what is too large")
        collector.close()


def test_gelf_by_tcp_tries_again_as_told() -> None:
    port = free_port()
    options = {
        "gelf-address": f"tcp://127.0.0.1:{port}",
        "gelf-tcp-max-reconnect": "20",
        "gelf-tcp-reconnect-delay": "0",
    }
    with pytest.raises(CollectorError, match="gelf: cannot connect to GELF endpoint: 127.0.0.1:"):
        Gelf(about(), options).open()
    with closing(Stream(port=port)) as listener:
        collector = Gelf(about(), options)
        collector.open()
        collector.send(out())
        assert listener.wait(b"\0").endswith(b'"_tag":"tag"}\0')
        collector.close()


# --- fluentd ------------------------------------------------------------------------------------


def test_fluentd_with_acknowledgement() -> None:
    def acknowledge(data: bytes) -> bytes:
        (entry,) = unpack(data)
        return pack({b"ack": entry[3][b"chunk"]})  # type: ignore[index]

    with closing(Stream(acknowledge=acknowledge)) as listener:
        options = {"fluentd-address": listener.address, "fluentd-request-ack": "true"}
        collector = Fluentd(about(a="1"), options)
        collector.open()
        for number in range(3):
            collector.send(out(b"%d" % number))
        assert [entry[2][b"log"] for entry in unpack(bytes(listener.received))] == [b"0", b"1", b"2"]  # type: ignore[index]
        assert collector.wait_s() is None
        collector.close()


def test_fluentd_sends_again_what_was_not_acknowledged() -> None:
    answers = [
        lambda data: pack({b"ack": b"other"}),
        lambda data: pack({b"ack": unpack(data)[0][3][b"chunk"]}),
    ]  # type: ignore[index]
    with closing(Stream(acknowledge=lambda data: answers.pop(0)(data))) as listener:
        options = {
            "fluentd-address": listener.address,
            "fluentd-request-ack": "true",
            "fluentd-retry-wait": "10ms",
        }
        collector = Fluentd(about(), options)
        collector.open()
        collector.send(out(b"once"))
        assert [entry[2][b"log"] for entry in unpack(bytes(listener.received))] == [b"once", b"once"]  # type: ignore[index]
        collector.close()


def test_fluentd_async_needs_no_connection_and_keeps_the_order() -> None:
    port = free_port()
    options = {
        "fluentd-address": f"127.0.0.1:{port}",
        "fluentd-async": "true",
        "fluentd-retry-wait": "50ms",
        "fluentd-buffer-limit": "3",
    }
    collector = Fluentd(about(), options)
    collector.open()
    for number in range(5):
        collector.send(out(b"%d" % number))
    with closing(Stream(port=port)) as listener:
        wait_until(lambda: collector.tick() or collector.wait_s() is None, "the sending of what waited")
        assert [entry[2][b"log"] for entry in unpack(listener.wait(b"2"))] == [b"0", b"1", b"2"]  # type: ignore[index]
        collector.close()


def test_fluentd_is_patient_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fluentd, "_PATIENCE_S", 0.3)
    listener = Stream()
    collector = Fluentd(about(), {"fluentd-address": listener.address, "fluentd-retry-wait": "50ms"})
    collector.open()
    listener.close()
    for _ in range(3):
        collector.send(out(b"lost"))
    collector.close()


def test_messagepack() -> None:
    values = [b"x" * n for n in (0, 31, 32, 255, 256, 70_000)]
    for value in values[:-1]:
        assert unpack(pack(value)) == [value]
    assert pack(values[-1])[:5] == b"\xdb\x00\x01\x11\x70"
    assert pack([1, {b"a": b"b"}, EventTime(MOMENT)]) == (
        b"\x93\xd2\x00\x00\x00\x01\x81\xa1a\xa1b\xd7\x00\x65\x53\xf1\x00\x07\x5b\xcd\x15"
    )
    assert pack(2**31) == b"\xd3\x00\x00\x00\x00\x80\x00\x00\x00"
    assert pack({b"%d" % n: b"" for n in range(16)})[:3] == b"\xde\x00\x10"


@given(st.binary(max_size=60))
def test_an_answer_that_is_none(data: bytes) -> None:
    try:
        unpack_text_map(data)
    except ValueError:
        return


def test_an_answer_in_pieces() -> None:
    whole = pack({b"ack": b"y" * 40})
    assert all(unpack_text_map(whole[:size]) is None for size in range(len(whole)))
    assert unpack_text_map(whole) == {b"ack": b"y" * 40}


# --- splunk -------------------------------------------------------------------------------------


def test_splunk_sends_batches() -> None:
    with closing(Events()) as events:
        collector = Splunk(about(), {"splunk-url": events.url, "splunk-token": "T"})
        collector.open()
        for number in range(1001):
            collector.send(out(b"%d" % number))
        assert len(events.requests) == 2 and collector.wait_s() is not None
        collector.close()
        bodies = [body for method, _, _, body in events.requests if method == "POST"]
        assert [body.count(b'"event"') for body in bodies] == [1000, 1]


def test_splunk_keeps_what_was_refused() -> None:
    with closing(Events(status=503)) as events:
        options = {"splunk-url": events.url, "splunk-token": "T", "splunk-verify-connection": "false"}
        collector = Splunk(about(), options)
        collector.open()
        collector.send(out(b"kept"))
        collector.tick()
        assert collector.wait_s() is not None
        events.status = 200
        collector.close()
        assert [body.count(b"kept") for _, _, _, body in events.requests] == [1, 1]
        events.status = 400
        with pytest.raises(CollectorError, match="failed to verify connection - 400 Bad Request - said"):
            Splunk(about(), {"splunk-url": events.url, "splunk-token": "T"}).open()


# --- journald -----------------------------------------------------------------------------------


def test_journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    monkeypatch.setattr(journald, "_SOCKET", str(path))
    with pytest.raises(CollectorError, match="journald is not enabled on this host"):
        Journald(about(), {}).open()
    with closing(Datagrams(path)) as listener:
        collector = Journald(about(**{"my.label-1": "v", "_x": "two\nlines"}), {})
        collector.open()
        collector.send(out(b"line"))
        collector.send(Message("stderr", b"x" * 2_000_000, MOMENT, "id", 2, last=False))
        first, second = listener.wait(2)
        assert first.split(b"\n")[:8] == [
            b"PRIORITY=6",
            b"MESSAGE=line",
            b"CONTAINER_ID=abababababab",
            b"CONTAINER_ID_FULL=" + ID.encode(),
            b"CONTAINER_NAME=web",
            b"CONTAINER_TAG=tag",
            b"IMAGE_NAME=box",
            b"SYSLOG_IDENTIFIER=tag",
        ]
        assert first.endswith(b"MY_LABEL_1=v\nX\n\x09\0\0\0\0\0\0\0two\nlines\n")
        assert second.startswith(b"PRIORITY=3\nMESSAGE=xxx")
        assert second.endswith(
            b"CONTAINER_PARTIAL_ID=id\nCONTAINER_PARTIAL_ORDINAL=2\nCONTAINER_PARTIAL_LAST=false\n"
            b"CONTAINER_PARTIAL_MESSAGE=true\n"
        )
        collector.close()
    assert field_name("__aé-Z9") == "A__Z9"

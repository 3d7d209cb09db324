"""Log drivers that send logs away, beside a real dockerd's: the same listener gets the same bytes."""

from __future__ import annotations

import json
import re
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.peers.busybox import box_layout
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi
from tests.peers.listeners import Datagrams, Events, Stream, closing, unpack
from tests.peers.processes import wait_until

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("containers")]

Both = tuple[Onggi, Daemon]
NONE = ("--network", "none")
# Pauses, so that both see the same pieces in the same order.
SAYS = 'echo "out <&> é"; sleep 0.05; echo err >&2; sleep 0.05; echo; sleep 0.05; printf end'
SETTINGS = ("-l", "lab=v1", "-l", "_odd.name=v2", "-e", "EV=e 1")
CHOSEN = ("labels=lab,_odd.name", "env=EV")


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Iterator[Both]:
    directory = tmp_path_factory.mktemp("collectors")
    with serving(OCILayout(box_layout(directory / "layout").directory)) as url:
        config = directory / "daemon.json"
        config.write_text(json.dumps({"registry-mirrors": [url], "compat": "20.10"}))
        ours = Onggi(directory / "root", config)
        with Daemon(directory / "docker", directory / "d", mirror=url) as theirs:
            for peer in (ours, theirs):
                peer.run("pull", "-q", "box")
            yield ours, theirs


def _run(peer: Onggi | Daemon, driver: str, *options: str, says: str = SAYS) -> str:
    """Run it, and give what ``logs`` shows afterwards."""
    flags = [word for option in options for word in ("--log-opt", option)]
    words = ["run", "--name", "said", *NONE, "--log-driver", driver, *SETTINGS, *flags]
    peer.run(*words, "box", "sh", "-c", says)
    told = peer.run("logs", "said")
    peer.run("rm", "said")
    return told.stdout + told.stderr


def _normal(data: bytes) -> bytes:
    """Without ids, times and process numbers."""
    for pattern, word in (
        (rb"20\d\d-\d\d-\d\dT[\d:.]+Z", b"TIME"),
        (rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d", b"TIME"),
        (rb'("timestamp":|"time":")\d{10}(\.\d+)?', rb"\1TIME"),
        (rb"\b[0-9a-f]{64}\b", b"ID"),
        (rb"\b[0-9a-f]{12}\b", b"SHORT"),
        (rb"SHORT\[\d+\]", b"SHORT[PID]"),
        (rb"(said\S*)\[\d+\]", rb"\1[PID]"),
        (rb"SHORT \d+ SHORT", b"SHORT PID SHORT"),
        (rb"Channel: [0-9a-f-]{36}", b"Channel: GUID"),
    ):
        data = re.sub(pattern, word, data)
    return data


soak = pytest.mark.soak
SYSLOG = [
    ("udp",),
    ("udp", "syslog-format=rfc3164", "syslog-facility=local3"),
    pytest.param(("udp", "syslog-format=rfc5424", "syslog-facility=5"), marks=soak),
    ("udp", "syslog-format=rfc5424micro"),
    pytest.param(("udp", "tag={{.Name}}/{{.ImageName}}"), marks=soak),
    ("tcp", "syslog-format=rfc5424"),
    pytest.param(("tcp",), marks=soak),
    pytest.param(("unixgram",), marks=soak),
    pytest.param(("unixgram", "syslog-format=rfc5424"), marks=soak),
    ("unix", "syslog-format=rfc3164"),
]


@pytest.mark.parametrize("options", SYSLOG, ids=" ".join)
def test_syslog(both: Both, tmp_path: Path, options: tuple[str, ...]) -> None:
    network, *options = options
    seen = []
    for number, peer in enumerate(both):
        path = tmp_path / f"{number}.sock" if network.startswith("unix") else None
        with closing(Datagrams(path) if network in ("udp", "unixgram") else Stream(path)) as listener:
            logs = _run(peer, "syslog", f"syslog-address={network}://{listener.address}", *options)
            got = b"|".join(listener.wait(3)) if isinstance(listener, Datagrams) else listener.wait(b"end\n")
            seen.append((_normal(got), logs))
    assert seen[0] == seen[1]
    assert seen[0][0].count(b"\n") == 3 and b"end" in seen[0][0]


@pytest.mark.parametrize(
    "options",
    [("gelf-compression-type=none",), pytest.param(("gelf-compression-type=zlib",), marks=soak), ()],
)
def test_gelf_by_udp(both: Both, options: tuple[str, ...]) -> None:
    seen = []
    for peer in both:
        with closing(Datagrams()) as listener:
            logs = _run(peer, "gelf", f"gelf-address=udp://{listener.address}", *CHOSEN, *options)
            got = listener.wait(3)
            heads = [data[:2] for data in got]
            plain = [zlib.decompress(data, 47) if data[:1] in b"\x1f\x78" else data for data in got]
            seen.append((heads, _normal(b"\n".join(plain)), logs))
    assert seen[0] == seen[1]


@soak
def test_gelf_in_chunks(both: Both) -> None:
    """A message longer than a packet: the same sizes, numbers and counts."""
    seen = []
    long = "head -c 12000 /dev/zero | tr '\\0' x; echo"
    for peer in both:
        with closing(Datagrams()) as listener:
            _run(
                peer,
                "gelf",
                f"gelf-address=udp://{listener.address}",
                "gelf-compression-type=none",
                says=long,
            )
            got = listener.wait(9)
            assert len({data[2:10] for data in got}) == 1
            # The last one's size depends on how many digits a time has.
            seen.append([(data[:2], data[10:12], len(data)) for data in got[:-1]])
            whole = json.loads(b"".join(data[12:] for data in got))
            assert whole["short_message"] == "x" * 12000
    assert seen[0] == seen[1]


@soak
def test_gelf_by_tcp(both: Both) -> None:
    seen = []
    for peer in both:
        with closing(Stream()) as listener:
            _run(peer, "gelf", f"gelf-address=tcp://{listener.address}", *CHOSEN)
            seen.append(_normal(listener.wait(b'"end"')))
    assert seen[0] == seen[1]


def _entry(entry: object) -> object:
    """Without times and ids; Docker's maps have no order."""
    assert isinstance(entry, list)
    tag, moment, record, option = entry
    record = {key: _normal(value) for key, value in record.items()}
    return _normal(tag), type(moment), record, option


@pytest.mark.parametrize(
    "options", [pytest.param((), marks=soak), ("fluentd-sub-second-precision=true", "tag=a.b")]
)
def test_fluentd(both: Both, options: tuple[str, ...]) -> None:
    seen = []
    for peer in both:
        with closing(Stream()) as listener:
            logs = _run(peer, "fluentd", f"fluentd-address={listener.address}", *CHOSEN, *options)
            wait_until(lambda listener=listener: len(_entries(listener)) == 4, "four entries")
            seen.append(([_entry(entry) for entry in _entries(listener)], logs))
    assert seen[0] == seen[1]


def _entries(listener: Stream) -> list[object]:
    try:
        return unpack(bytes(listener.received))
    except (IndexError, AssertionError):
        return []  # not whole yet


SPLUNK = [
    pytest.param((), marks=soak),
    ("splunk-format=json", "splunk-index=main", "splunk-source=src", "splunk-sourcetype=st"),
    pytest.param(("splunk-format=raw", "labels=lab", "env="), marks=soak),
    ("splunk-gzip=true", "splunk-index-acknowledgment=true"),
    pytest.param(("splunk-verify-connection=false", "tag="), marks=soak),
]


@pytest.mark.parametrize("options", SPLUNK, ids=" ".join)
def test_splunk(both: Both, options: tuple[str, ...]) -> None:
    seen = []
    chosen = () if "env=" in options else CHOSEN
    for peer in both:
        with closing(Events()) as events:
            says = f"{SAYS}; echo; echo '{{\"a\": [1, 2]}}'"
            logs = _run(
                peer, "splunk", f"splunk-url={events.url}", "splunk-token=TOK", *chosen, *options, says=says
            )
            requests = [
                (
                    method,
                    path,
                    headers.get("Authorization"),
                    headers.get("Content-Encoding"),
                    len(headers.get("X-Splunk-Request-Channel", "")),
                    _normal(body),
                )
                # dockerd opens the log once more, to read its cache.
                for method, path, headers, body in events.requests[: 1 + (events.requests[0][0] != "POST")]
            ]
            seen.append((requests, logs))
    assert seen[0] == seen[1]


@pytest.fixture
def journal() -> Iterator[Datagrams]:
    """systemd's socket, in this run's own mounts."""
    place = Path("/run/systemd")
    there = place.is_dir()
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "journal", place], check=True)
    (place / "journal").mkdir()
    with closing(Datagrams(place / "journal" / "socket")) as listener:
        yield listener
    subprocess.run(["umount", "--lazy", place], check=True)
    if not there:
        place.rmdir()


@soak
def test_journald(both: Both, journal: Datagrams) -> None:
    seen = []
    for peer in both:
        journal.received.clear()
        # dockerd reads the journal itself for `logs`, here nobody keeps one.
        _run(peer, "journald", *CHOSEN)
        # Docker's map of fields has no order.
        seen.append([sorted(_normal(data).split(b"\n")) for data in journal.wait(4)])
    assert seen[0] == seen[1]
    assert b"ODD_NAME=v2" in seen[0][0]


REFUSED = [
    ("syslog", "x=y"),
    ("fluentd", "x=y"),
    ("splunk", "x=y"),
    ("journald", "x=y"),
    ("gelf", "x=y"),
    ("gelf", "gelf-address=udp://1.1.1.1:1", "x=y"),
    ("syslog", "cache-disabled=x"),
    ("syslog", "cache-foo=1m"),
    ("syslog", "syslog-address=foo"),
    ("syslog", "syslog-address=unix:///nope"),
    ("syslog", "syslog-facility=foo"),
    ("syslog", "syslog-format=foo"),
    ("gelf",),
    ("gelf", "gelf-address=foo"),
    ("gelf", "gelf-address=unix:///x"),
    ("gelf", "gelf-address=udp://x"),
    ("gelf", "gelf-address=tcp://x:1", "gelf-compression-type=gzip"),
    ("gelf", "gelf-address=udp://x:1", "gelf-compression-type=foo"),
    ("gelf", "gelf-address=udp://x:1", "gelf-compression-level=12"),
    ("gelf", "gelf-address=udp://x:1", "gelf-tcp-max-reconnect=1"),
    ("gelf", "gelf-address=tcp://x:1", "gelf-tcp-max-reconnect=x"),
    ("fluentd", "fluentd-address=foo:x"),
    ("fluentd", "fluentd-async=x"),
    ("fluentd", "fluentd-buffer-limit=x"),
    ("fluentd", "fluentd-retry-wait=x"),
    ("fluentd", "fluentd-max-retries=x"),
    ("fluentd", "fluentd-async=1", "fluentd-async-connect=1"),
]
FAILING = [
    ("splunk",),
    ("splunk", "splunk-url=http://127.0.0.1:1"),
    ("splunk", "splunk-url=foo", "splunk-token=x"),
    ("splunk", "splunk-url=http://127.0.0.1:1", "splunk-token=x"),
    ("splunk", "splunk-url=http://127.0.0.1:1", "splunk-token=x", "splunk-gzip=44"),
    ("splunk", "splunk-url=http://127.0.0.1:1", "splunk-token=x", "splunk-gzip-level=44"),
    ("fluentd", "fluentd-address=127.0.0.1:1"),
    ("gelf", "gelf-address=tcp://127.0.0.1:1"),
    ("syslog", "syslog-address=tcp://127.0.0.1:1"),
    ("syslog",),
    ("syslog", "syslog-address=udp://127.0.0.1:1", "tag={{.Foo}}"),
    ("journald",),
]


@soak
def test_the_same_words_for_what_is_wrong(both: Both) -> None:
    for driver, *options in [*REFUSED, *FAILING]:
        flags = [word for option in options for word in ("--log-opt", option)]
        words = ("run", "--rm", *NONE, "--log-driver", driver, *flags, "box", "true")
        told = [peer.run(*words, check=False) for peer in both]
        said = [
            re.sub(r"^(docker|onggi|Error): |Error response from daemon: ", "", done.stderr.splitlines()[0])
            for done in told
        ]
        assert said[0].partition(" (")[0] == said[1].partition(" (")[0], (driver, options)
        # docker's command line takes "no such file" of a log's socket for a program that is not there.
        assert told[0].returncode == 125 and told[1].returncode in (125, 127)


def test_logs_without_the_cache(both: Both) -> None:
    for peer in both:
        with closing(Datagrams()) as listener:
            flags = ("--log-driver", "syslog", "--log-opt", f"syslog-address=udp://{listener.address}")
            name = ("--name", "uncached", "--log-opt", "cache-disabled=true")
            peer.run("run", *NONE, *flags, *name, "box", "echo", "x")
            told = peer.run("logs", "uncached", check=False)
            assert (told.returncode, told.stdout) == (1, "")
            assert "configured logging driver does not support reading" in told.stderr

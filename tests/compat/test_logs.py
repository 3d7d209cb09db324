"""Log files and ``logs`` beside a real dockerd's: the same bytes, read by either."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.compat.explained import without_broken_lines
from tests.compat.pair import agrees
from tests.peers.busybox import box_layout
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("containers")]

Both = tuple[Onggi, Daemon]
SAYS = 'echo "out <&> é"; echo; head -c 40000 /dev/zero | tr "\\0" x; echo; sleep 0.1; printf end'
NONE = ("--network", "none")


@pytest.fixture(scope="module")
def box_url(tmp_path_factory) -> Iterator[str]:
    with serving(OCILayout(box_layout(tmp_path_factory.mktemp("boxes") / "layout").directory)) as url:
        yield url


def _onggi(directory: Path, url: str, data_root: Path | None = None) -> Onggi:
    directory.mkdir(exist_ok=True)
    config = directory / "daemon.json"
    config.write_text(json.dumps({"registry-mirrors": [url], "compat": "20.10"}))
    return Onggi(data_root or directory / "root", config)


@pytest.fixture(scope="module")
def both(tmp_path_factory, box_url: str) -> Iterator[Both]:
    directory = tmp_path_factory.mktemp("logs")
    ours = _onggi(directory, box_url)
    ours.run("pull", "-q", "box")
    with Daemon(directory / "docker", directory / "d", mirror=box_url) as theirs:
        theirs.run("pull", "-q", "box")
        yield ours, theirs


def _logs(peer: Onggi | Daemon, name: str) -> str:
    return without_broken_lines(peer.output("logs", name))


def _directory(peer: Onggi | Daemon, name: str) -> Path:
    return peer.data_root / "containers" / peer.output("inspect", "--format", "{{.Id}}", name).strip()


def test_json_file_with_attributes(both: Both) -> None:
    flags = [
        *("-l", "b=<2>", "-l", "a=1", "-l", "c1=x", "-e", "EV=e 1", "--log-opt", "labels=a,b"),
        *("--log-opt", "labels-regex=^c", "--log-opt", "env=EV", "--log-opt", "tag={{.Name}}|{{.ImageName}}"),
    ]
    seen = []
    for peer in both:
        peer.run("run", *NONE, "--name", "attrs", *flags, "box", "sh", "-c", "echo hi; echo two")
        (log,) = _directory(peer, "attrs").glob("*-json.log")
        lines = re.sub(r'"time":"[^"]+"', "TIME", log.read_text())
        seen.append((lines, peer.output("logs", "--details", "attrs"), peer.output("logs", "attrs")))
    assert seen[0] == seen[1]


def test_local_has_the_same_entries(both: Both) -> None:
    seen = []
    for peer in both:
        peer.run("run", *NONE, "--log-driver", "local", "--name", "bin", "box", "sh", "-c", SAYS)
        path = _directory(peer, "bin") / "local-logs" / "container.log"
        data = path.read_bytes()
        # A time is nine bytes here; an id of a line's parts is 64 digits.
        shape = re.sub(rb"\x10[\x80-\xff]{8}[\x00-\x7f]", b"TIME", re.sub(rb"[0-9a-f]{64}", b"ID", data))
        seen.append((shape, _logs(peer, "bin"), path.stat().st_mode, path.parent.stat().st_mode))
    assert seen[0] == seen[1]


def test_either_reads_what_the_other_kept(tmp_path: Path, box_url: str) -> None:
    ours = _onggi(tmp_path, box_url)
    ours.run("pull", "-q", "box")
    ours.run("run", *NONE, "--log-driver", "local", "--name", "bin", "box", "sh", "-c", SAYS)
    assert ours.output("logs", "bin").endswith("x\nend")
    said = _logs(ours, "bin")
    assert said.startswith("out <&> é\n\nxxx")
    with Daemon(ours.data_root, tmp_path / "d", mirror=box_url) as daemon:
        assert _logs(daemon, "bin") == said
        daemon.run("start", "-a", "bin")
        twice = _logs(daemon, "bin")
        assert twice == said + said
    assert _logs(ours, "bin") == twice
    assert ours.output("logs", "--tail", "1", "bin") == "end"
    ours.run("start", "-a", "bin")
    assert _logs(ours, "bin") == said * 3


REFUSED = [
    ("--log-opt", "x=y"),
    ("--log-driver", "local", "--log-opt", "x=y"),
    ("--log-driver", "none", "--log-opt", "x=y"),
    ("--log-opt", "mode=x"),
    ("--log-opt", "max-buffer-size=1m"),
    ("--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=zz"),
]
FAILING = [
    ("--log-opt", "max-size=x"),
    ("--log-opt", "max-size=-5"),
    ("--log-opt", "max-size=0"),
    ("--log-opt", "max-file=0"),
    ("--log-opt", "max-file=x"),
    ("--log-opt", "compress=x"),
    ("--log-opt", "compress=true", "--log-opt", "max-size=1m"),
    ("--log-opt", "tag={{.Foo}}"),
    ("--log-driver", "local", "--log-opt", "max-size=x"),
    ("--log-driver", "local", "--log-opt", "max-file=x"),
    ("--log-driver", "local", "--log-opt", "max-file=1"),
]


@pytest.mark.parametrize("words", [*REFUSED, *FAILING], ids=" ".join)
def test_the_same_words_for_what_is_wrong(both: Both, words: tuple[str, ...]) -> None:
    told = [peer.run("run", "--rm", *NONE, *words, "box", "true", check=False) for peer in both]
    assert told[0].returncode == told[1].returncode == 125
    assert agrees(told[0].stderr, told[1].stderr), told


def test_a_driver_that_keeps_nothing(both: Both) -> None:
    for peer in both:
        peer.run("run", *NONE, "--log-driver", "none", "--name", "mute", "box", "echo", "x")
        told = peer.run("logs", "mute", check=False)
        assert told.returncode == 1
        assert "configured logging driver does not support reading" in told.stderr

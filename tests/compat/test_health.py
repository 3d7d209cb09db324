"""Health checks beside a real dockerd's: the same options, files, texts and events."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.peers.busybox import box_layout
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi
from tests.peers.processes import wait_until

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("containers")]

CHECKED = {
    "Cmd": ["sleep", "100"],
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 3 * 10**9, "Retries": 7},
}
Both = tuple[Onggi, Daemon]


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Iterator[Both]:
    directory = tmp_path_factory.mktemp("health")
    layout = box_layout(directory / "layout", checked=CHECKED)
    with serving(OCILayout(layout.directory)) as url:
        config = directory / "daemon.json"
        config.write_text(json.dumps({"registry-mirrors": [url], "compat": "20.10"}))
        ours = Onggi(directory / "root", config)
        with Daemon(directory / "docker", directory / "d", mirror=url) as theirs:
            for image in ("box", "checked"):
                ours.run("pull", "-q", image)
                theirs.run("pull", "-q", image)
            yield ours, theirs
        ids = ours.output("ps", "-aq").split()
        if ids:
            ours.run("rm", "-f", *ids)


CONFIGURATIONS = [
    ("box", "true"),
    ("checked",),
    ("--no-healthcheck", "checked"),
    ("--health-retries", "2", "checked"),
    ("--health-cmd", "test -f /x", "--health-start-period", "1m30s", "--health-timeout", "1.5s", "box"),
    ("--health-interval", "20ms", "checked"),
]


@pytest.mark.parametrize("words", CONFIGURATIONS)
def test_the_same_configuration(both: Both, words: tuple[str, ...]) -> None:
    seen = []
    for peer in both:
        id = peer.output("create", "--network", "none", *words).strip().splitlines()[-1]
        seen.append(json.loads((peer.data_root / "containers" / id / "config.v2.json").read_text()))
    ours, theirs = seen
    assert ours["Config"].get("Healthcheck") == theirs["Config"].get("Healthcheck")
    assert ours["State"] == theirs["State"]


@pytest.mark.parametrize(
    "words",
    [
        ("--health-interval", "500us"),
        ("--health-timeout", "-1s"),
        ("--health-interval", "x"),
        ("--health-interval", "3"),
        ("--health-retries", "-1"),
        ("--no-healthcheck", "--health-cmd", "true"),
    ],
)
def test_the_same_refusals(both: Both, words: tuple[str, ...]) -> None:
    told = [peer.run("run", "--network", "none", *words, "box", "true", check=False) for peer in both]
    assert told[0].returncode == told[1].returncode == 125
    said = [re.sub(r"docker|onggi|Error response from daemon: |Error: ", "", done.stderr) for done in told]
    ours, theirs = (re.sub(r"^: ", "", text.strip().splitlines()[0]).lower() for text in said)
    assert ours == theirs


def _health(peer: Any, name: str) -> dict[str, Any]:
    return json.loads(peer.output("inspect", "--format", "{{json .State.Health}}", name))


def _events(peer: Any, name: str) -> list[str]:
    """Turns of health, and one of each other kind, in the order of their first time."""
    text = peer.output(
        "events",
        "--since",
        "1h",
        "--until",
        str(int(time.time()) + 1),  # whole seconds, both
        "--filter",
        "type=container",
        "--format",
        "{{.Action}} {{.Actor.Attributes.name}}",
    )
    actions = [line.rpartition(" ")[0] for line in text.splitlines() if line.endswith(f" {name}")]
    return list(dict.fromkeys(actions))


def test_the_same_life(both: Both) -> None:
    """Unhealthy, healthy by a file that comes, paused, stopped; the log's rows, ps, filters, events."""
    seen: list[list[Any]] = []
    command = "echo looked; test -f /ok"
    flags = ("--health-cmd", command, "--health-interval", "200ms", "--health-retries", "2")
    for peer in both:
        facts: list[Any] = []
        peer.run("run", "-d", "--network", "none", "--name", "patient", *flags, "box", "sleep", "100")
        wait_until(lambda peer=peer: _health(peer, "patient")["Status"] == "unhealthy", "unhealthy")
        row = _health(peer, "patient")["Log"][-1]
        facts += [list(row), row["ExitCode"], row["Output"]]
        facts.append(
            re.sub(
                r"Up .* \(", "Up (", peer.output("ps", "--format", "{{.Status}}", "--filter", "name=patient")
            )
        )
        peer.run("exec", "patient", "touch", "/ok")
        wait_until(lambda peer=peer: _health(peer, "patient")["Status"] == "healthy", "healthy")
        facts += [
            peer.output(
                "ps", "--format", "{{.Names}}", "--filter", f"health={word}", "--filter", "name=patient"
            )
            for word in ("healthy", "unhealthy", "starting", "none")
        ]
        peer.run("pause", "patient")
        facts.append(_health(peer, "patient")["Status"])
        peer.run("unpause", "patient")
        peer.run("stop", "-t", "0", "patient")
        facts += [_health(peer, "patient")["Status"], _events(peer, "patient")]
        seen.append(facts)
    assert seen[0] == seen[1]


def test_a_check_that_takes_too_long(both: Both) -> None:
    flags = ("--health-cmd", "echo begun; sleep 9", "--health-interval", "50ms", "--health-timeout", "300ms")
    rows = []
    for peer in both:
        peer.run("run", "-d", "--network", "none", "--name", "slow", *flags, "box", "sleep", "100")
        wait_until(lambda peer=peer: bool(_health(peer, "slow")["Log"]), "a result")
        row = _health(peer, "slow")["Log"][0]
        rows.append((row["ExitCode"], row["Output"]))
        peer.run("rm", "-f", "slow")
    assert rows[0] == rows[1]


def test_an_unknown_health_is_no_filter(both: Both, tmp_path: Path) -> None:
    told = [peer.run("ps", "--filter", "health=ill", check=False) for peer in both]
    assert [done.returncode for done in told] == [1, 1]
    assert all("nrecognised filter value for health: ill" in done.stderr for done in told)

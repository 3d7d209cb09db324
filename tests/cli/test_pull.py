from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

from tests.cli.conftest import BIG_BYTES
from tests.peers.daemon import onggi_environment
from tests.peers.fixtures import Onggi


def start(onggi: Onggi, *words: str, **streams: object) -> subprocess.Popen[bytes]:
    environment = onggi_environment(ONGGI_CONFIG=str(onggi._config))
    command = [sys.executable, "-m", "onggi", "--data-root", str(onggi.data_root), *words]
    return subprocess.Popen(command, env=environment, **streams)


def test_transcript(empty: Onggi) -> None:
    lines = empty.output("pull", "web:v1").splitlines()
    assert lines[0] == "v1: Pulling from library/web"
    assert re.fullmatch("Digest: sha256:[0-9a-f]{64}", lines[-3])
    assert lines[-2:] == ["Status: Downloaded newer image for web:v1", "docker.io/library/web:v1"]
    layers = [line.split(": ") for line in lines[1:-3]]
    assert [state for _, state in layers].count("Pull complete") == 2
    again = empty.output("pull", "web:v1").splitlines()
    assert again == [lines[0], lines[-3], "Status: Image is up to date for web:v1", lines[-1]]
    shared = empty.output("pull", "web:v2").splitlines()
    assert shared[1].endswith(": Already exists")


def test_default_tag_quiet_and_all_tags(empty: Onggi) -> None:
    lines = empty.output("pull", "big").splitlines()
    assert lines[:2] == ["Using default tag: latest", "latest: Pulling from library/big"]
    assert empty.output("pull", "-q", "big") == "docker.io/library/big:latest\n"
    lines = empty.output("pull", "-a", "web").splitlines()
    assert lines[0] == "v1: Pulling from library/web"
    assert "v2: Pulling from library/web" in lines
    assert lines[-2:] == ["Status: Downloaded newer image for web", "docker.io/library/web"]
    done = empty.run("pull", "-a", "web:v1", check=False)
    assert (done.returncode, done.stderr) == (1, "tag can't be used with --all-tags/-a\n")


def test_downloads_at_once_are_at_least_one(empty: Onggi) -> None:
    done = empty.run("pull", "--max-concurrent-downloads=0", "big", check=False)
    assert (done.returncode, done.stderr) == (1, "invalid --max-concurrent-downloads: must be at least 1\n")


def test_json(empty: Onggi) -> None:
    documents = [json.loads(line) for line in empty.output("pull", "--progress=json", "web:v1").splitlines()]
    assert documents[0] == {"status": "Pulling from library/web", "id": "v1"}
    assert {"Pulling fs layer", "Pull complete"} <= {document.get("status") for document in documents}
    assert documents[-1]["aux"]["Reference"] == "docker.io/library/web:v1"
    assert documents[-1]["aux"]["ID"] == empty.output("images", "-q", "--no-trunc").strip()
    done = empty.run("pull", "--json", "scratch", check=False)
    assert json.loads(done.stdout)["error"] == "'scratch' is a reserved name"
    assert done.returncode == 1


def test_plan_fetches_nothing(empty: Onggi) -> None:
    plan = json.loads(empty.output("pull", "--plan", "--json", "web:v1"))
    assert plan["Reference"] == "docker.io/library/web:v1"
    assert [layer["State"] for layer in plan["Layers"]] == ["missing", "missing"]
    assert plan["BytesToFetch"] == sum(layer["Size"] for layer in plan["Layers"])
    assert plan["UpToDate"] is False
    assert empty.output("images", "-q") == ""
    empty.run("pull", "-q", "web:v2")
    text = empty.output("pull", "--plan", "web:v1")
    assert re.search(r"\n[0-9a-f]{12}   \S+ +\S+ +held\n[0-9a-f]{12}   \S+ +0B +missing\n", text)
    assert "1 of 2 layers" in text
    assert "a pull would fetch nothing" in empty.output("pull", "--plan", "web:v2")
    assert empty.output("pull", "--plan", "--format", "{{.BytesToFetch}}", "web:v2") == "0\n"


def test_terminal_gets_dockers_cursor_protocol(empty: Onggi) -> None:
    master, terminal = pty.openpty()
    process = start(empty, "pull", "web:v1", stdout=terminal)
    os.close(terminal)
    drawn = b""
    try:
        while piece := os.read(master, 65536):
            drawn += piece
    except OSError:
        pass
    assert process.wait(30) == 0
    os.close(master)
    assert drawn.startswith(b"v1: Pulling from library/web\r\n\r\n\x1b[1A\x1b[2K\r")
    assert re.search(rb"\x1b\[2A\x1b\[2K\r[0-9a-f]{12}: Pull complete \r\x1b\[2B", drawn)
    assert drawn.endswith(b"docker.io/library/web:v1\r\n")


def test_ctrl_c_keeps_what_was_received(empty: Onggi) -> None:
    process = start(
        empty, "pull", "--limit-rate", "300kB", "big", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 30
    while not received(empty) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.decode() == (
        "Error: pull big: stopped (what was received is kept; the same command goes on from there)\n"
    )
    assert 0 < received(empty) < BIG_BYTES
    plan = json.loads(empty.output("pull", "--plan", "--json", "big"))
    assert plan["Layers"][0]["State"] == "partial"
    assert plan["BytesToFetch"] < plan["Layers"][0]["Size"]
    assert empty.output("pull", "-q", "big") == "docker.io/library/big:latest\n"


def received(onggi: Onggi) -> int:
    return sum(path.stat().st_size for path in onggi.data_root.glob("onggi/blobs/sha256/*.partial"))


def test_a_reader_that_leaves_stops_the_pull(empty: Onggi) -> None:
    process = start(empty, "pull", "--limit-rate", "300kB", "big", stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 141


def test_no_such_image(empty: Onggi) -> None:
    done = empty.run("pull", "library/nope:1", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1

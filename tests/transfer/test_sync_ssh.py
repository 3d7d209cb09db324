"""Sync through a real sshd: its keys, its known hosts, its shell on the far side."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.fixtures import Onggi
from tests.peers.processes import Process, free_port, listening, require, wait_until
from tests.transfer.test_sync import assert_same

SOURCES = Path(__file__).parents[2] / "src"


def make_key(path: Path) -> Path:
    subprocess.run([require("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@dataclass
class Server:
    """A running sshd that lets ``key`` in as this user."""

    directory: Path
    port: int
    key: Path
    process: Process

    @property
    def url(self) -> str:
        return f"ssh://127.0.0.1:{self.port}"

    def trust(self) -> None:
        """Let the client know the host."""
        public = (self.directory / "host.pub").read_text()
        (self.directory / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("sshd")
    make_key(directory / "host")
    key = make_key(directory / "user")
    (directory / "authorized_keys").write_text(f"{key.with_suffix('.pub').read_text()}")
    # Where sshd puts its unprivileged part; Debian's service makes it.
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    config = directory / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {directory}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {directory}/authorized_keys\nStrictModes no\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    process = Process([require("sshd"), "-D", "-e", "-f", config], directory / "log")
    wait_until(lambda: listening(port), "sshd")
    yield Server(directory, port, key, process)
    process.stop()


@pytest.fixture
def here(server: Server, tmp_path: Path, monkeypatch) -> Server:
    """The server, known to the ssh that onggi will find: the real one, with a configuration of the test's."""
    server.trust()
    (tmp_path / "bin").mkdir()
    (tmp_path / "ssh_config").write_text(
        f"IdentityFile {server.key}\nIdentitiesOnly yes\nBatchMode yes\nStrictHostKeyChecking yes\n"
        f"UserKnownHostsFile {server.directory}/known_hosts\nGlobalKnownHostsFile none\n"
    )
    wrapper = tmp_path / "bin/ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {require("ssh")} -F {tmp_path}/ssh_config "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return server


@pytest.fixture(scope="module")
def filled(tmp_path_factory, hub) -> Onggi:
    directory = tmp_path_factory.mktemp("filled")
    config = directory / "daemon.json"
    config.write_text(json.dumps({"registry-mirrors": [hub]}))
    made = Onggi(directory / "root", config)
    for name in ("odd", "twice"):
        made.run("pull", "-q", name)
    return made


def far(filled: Onggi) -> list[str]:
    """How this checkout's onggi is called in a shell that knows nothing of the test's environment."""
    program = [
        "env",
        f"PYTHONPATH={SOURCES}",
        f"ONGGI_CONFIG={filled._config}",
        sys.executable,
        "-m",
        "onggi",
    ]
    return ["--remote-program", shlex.join(program)]


def test_from_and_to_another_host(filled: Onggi, here: Server, tmp_path: Path) -> None:
    source, there, back = filled.data_root, tmp_path / "a root", tmp_path / "back"
    place = f"{here.url}{there}".replace(" ", "%20")
    filled.run("sync", *far(filled), str(source), place)
    assert_same(source, there)
    filled.run("sync", *far(filled), place, str(back))
    assert_same(source, back)
    again = filled.output("sync", *far(filled), "-q", "--json", str(source), place)
    assert all(not image["Missing"] and not image["New"] for image in json.loads(again))
    through = f"{here.url}{tmp_path}/through"
    filled.run("sync", *far(filled), place, through, "twice")
    assert (
        Onggi(tmp_path / "through", filled._config).output("images", "--format", "{{.Repository}}")
        == "twice\n"
    )


def refused(filled: Onggi, tmp_path: Path, server: Server, *words: str) -> list[str]:
    """The one line that each direction ends with, less what they differ in."""
    lines = []
    for source, target in (
        (str(filled.data_root), f"{server.url}{tmp_path}/x"),
        (f"{server.url}{filled.data_root}", str(tmp_path / "y")),
    ):
        done = filled.run("sync", *words, source, target, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        place = target if target.startswith("ssh:") else source
        assert done.stderr.startswith(f"Error: sync with {place}: the connection ended: "), done.stderr
        lines.append(done.stderr.partition("the connection ended: ")[2].strip())
        # Nothing was begun where nothing came.
        assert not list((tmp_path / "y").glob("image/*/imagedb/content/sha256/*"))
    return lines


def test_a_key_that_is_not_let_in(filled: Onggi, here: Server, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    config = tmp_path / "ssh_config"
    config.write_text(config.read_text().replace(str(here.key), str(other)))
    for line in refused(filled, tmp_path, here, *far(filled)):
        assert "Permission denied (publickey)." in line
        assert f"'ssh -p {here.port} -- 127.0.0.1' must work first" in line


def test_a_host_that_is_not_known(filled: Onggi, here: Server, tmp_path: Path) -> None:
    (here.directory / "known_hosts").write_text("")
    for line in refused(filled, tmp_path, here, *far(filled)):
        assert line.startswith("Host key verification failed. (ssh itself does not get there: ")


def test_a_host_that_became_another(filled: Onggi, here: Server, tmp_path: Path) -> None:
    public = make_key(tmp_path / "changed").with_suffix(".pub").read_text()
    (here.directory / "known_hosts").write_text(f"[127.0.0.1]:{here.port} {public}")
    for line in refused(filled, tmp_path, here, *far(filled)):
        assert line.startswith("Host key verification failed. (ssh itself does not get there: ")


def test_no_onggi_on_the_far_side(filled: Onggi, here: Server, tmp_path: Path) -> None:
    for line in refused(filled, tmp_path, here, "--remote-program", "no-such-onggi"):
        assert "no-such-onggi: " in line
        assert "not found" in line
        assert "('no-such-onggi' must be found" in line


def test_nobody_listens(filled: Onggi, here: Server, tmp_path: Path) -> None:
    nowhere = Server(here.directory, free_port(), here.key, here.process)
    for line in refused(filled, tmp_path, nowhere, *far(filled)):
        assert "Connection refused (ssh itself does not get there: " in line

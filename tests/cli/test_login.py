"""Docker's texts for what needs no registry; the prompts on a terminal of their own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from tests.peers.daemon import onggi_environment
from tests.peers.fixtures import Onggi
from tests.peers.registries import htpasswd, start_registry
from tests.peers.tools import Tool

INSECURE = "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n"
NO_TTY = "Error: Cannot perform an interactive login from a non TTY device\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], NO_TTY),
        (["-u", "x"], NO_TTY),
        (["-p", "x"], INSECURE + NO_TTY),
        (["--password-stdin"], "the --password-stdin option requires --username to be set\n"),
        (["-u", "u", "--password-stdin"], NO_TTY),
        (
            ["-u", "u", "--password-stdin", "-p", "x"],
            INSECURE + "conflicting options: cannot specify both --password and --password-stdin\n",
        ),
    ],
)
def test_refusals(empty: Onggi, words: list[str], text: str) -> None:
    done = empty.run("login", *words, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", text)


def test_logout_without_login(empty: Onggi) -> None:
    assert empty.output("logout") == "Removing login credentials for https://index.docker.io/v1/\n"
    for server in ("example.org", "http://example.org/v1/", "https://example.org"):
        assert empty.output("logout", server) == "Removing login credentials for example.org\n"


def converse(onggi: Onggi, words: list[str], answers: list[tuple[bytes, bytes]]) -> tuple[bytes, int]:
    """Run on a terminal; give each answer when its question stands there."""
    environment = onggi_environment(
        ONGGI_CONFIG=str(onggi._config), DOCKER_CONFIG=str(onggi._config.parent / "docker")
    )
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "onggi", *words],
        stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    try:
        while piece := os.read(master, 4096):
            seen += piece
            if answers and seen.endswith(answers[0][0]):
                os.write(master, answers.pop(0)[1])
    except OSError:
        pass
    os.close(master)
    return seen, process.wait(30)


def test_prompts_hide_the_password(empty: Onggi) -> None:
    seen, status = converse(
        empty, ["login", "127.0.0.1:1"], [(b"Username: ", b"bob\n"), (b"Password: ", b"secret\n")]
    )
    assert seen.startswith(b"Username: bob\r\nPassword: \r\nError: ")
    assert b"secret" not in seen
    assert status == 1


@pytest.mark.parametrize(
    ("words", "question", "text"),
    [
        (["-u", "bob"], b"Password: ", b"Password: \r\nError: Password Required\r\n"),
        ([], b"Username: ", b"Username: \r\nError: Non-null Username Required\r\n"),
    ],
)
def test_empty_answers(empty: Onggi, words: list[str], question: bytes, text: bytes) -> None:
    assert converse(empty, ["login", *words, "x.org"], [(question, b"\n")]) == (text, 1)


def test_login_and_logout(tmp_path, tls_registry, authority) -> None:
    config = tmp_path / "daemon.json"
    config.write_text(json.dumps({"insecure-registries": [tls_registry.host]}))
    onggi = Onggi(tmp_path / "root", config)
    done = onggi.run("login", "-u", "u", "--password-stdin", tls_registry.host, stdin="p\n")
    assert done.stdout == "Login Succeeded\n"
    stored = tmp_path / "docker" / "config.json"
    assert done.stderr.startswith(f"\nWARNING! Your credentials are stored unencrypted in '{stored}'.\n")
    assert json.loads(stored.read_text())["auths"] == {tls_registry.host: {"auth": "dTpw"}}
    again = onggi.run("login", tls_registry.host)
    assert again.stderr.startswith("Authenticating with existing credentials... [Username: u]\n")
    assert onggi.run("login", "-u", "u", "-p", "wrong", tls_registry.host, check=False).returncode == 1
    onggi.run("logout", tls_registry.host)
    assert json.loads(stored.read_text())["auths"] == {}


def test_every_name_of_docker_hub_is_logged_out_of(empty: Onggi) -> None:
    stored = empty._config.parent / "docker" / "config.json"
    for name in ("", "docker.io", "index.docker.io", "registry-1.docker.io"):
        stored.parent.mkdir(exist_ok=True)
        stored.write_text('{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}}}')
        empty.run("logout", *([name] if name else []))
        assert json.loads(stored.read_text())["auths"] == {}


def test_logout_says_what_docker_says(empty: Onggi, tmp_path) -> None:
    docker = Tool(tmp_path, "docker")
    for words in ([], ["127.0.0.1:5000"], ["http://127.0.0.1:5000/v1/"], ["docker.io"]):
        assert empty.output("logout", *words) == docker.output("logout", *words)


def test_a_private_image_of_a_registry_without_tls(tmp_path, filled_storage) -> None:
    """Loopback is insecure without being listed: https is tried, then http, and the password goes there."""
    passwords = htpasswd(tmp_path / "htpasswd", "u", "p")
    auth = {"htpasswd": {"realm": "test", "path": str(passwords)}}
    registry = start_registry(tmp_path / "registry", filled_storage, auth=auth)
    try:
        (tmp_path / "daemon.json").write_text("{}")
        onggi = Onggi(tmp_path / "root", tmp_path / "daemon.json")
        image = f"{registry.host}/private/image:v1"
        refused = onggi.run("pull", image, check=False)
        assert (refused.returncode, "no basic auth credentials" in refused.stderr) == (1, True)
        assert f"onggi login {registry.host}" in refused.stderr
        wrong = onggi.run("login", "-u", "u", "--password-stdin", registry.host, stdin="wrong", check=False)
        assert wrong.returncode == 1
        assert "401 Unauthorized" in wrong.stderr
        done = onggi.run("login", "-u", "u", "--password-stdin", f"http://{registry.host}", stdin="p")
        assert done.stdout == "Login Succeeded\n"
        assert onggi.output("pull", "-q", image) == f"{image}\n"
        onggi.run("rmi", image)
        onggi.run("logout", registry.host)
        assert onggi.run("pull", image, check=False).returncode == 1
    finally:
        registry.process.stop()

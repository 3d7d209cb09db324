from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest

from onggi.cli.completion import complete
from onggi.cli.output import Output
from onggi.cli.table import program
from tests.peers.daemon import onggi_environment
from tests.peers.fixtures import Onggi

# The scripts are tried in every shell that is here; bash always is.
SHELLS = [shell for shell in ("bash", "zsh", "fish") if shell == "bash" or shutil.which(shell)]


def candidates(*words: str) -> list[str]:
    stream = io.BytesIO()
    complete(program(), words, Output(stream))
    return [line.partition("\t")[0] for line in stream.getvalue().decode().splitlines()]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["im"], ["image", "images", "import"]),
        (["image", "r"], ["rm"]),
        (["images", "--fi"], ["--filter"]),
        (["images", "--no"], ["--no-trunc"]),
        (["pull", "--progress", ""], ["auto", "tty", "plain", "json"]),
        (["pull", "--progress=j"], ["--progress=json"]),
        (["images", "-f", "da"], ["dangling="]),
        (["--data-root", ""], [":directory"]),
        (["--config-file", "x"], [":file"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["completion", "bash", ""], []),
        (["help", "hi"], ["history"]),
        (["nonsense", ""], []),
        (["info", ""], []),
        (["-D", "vers"], ["version"]),
    ],
)
def test_words_and_flags(words: list[str], found: list[str]) -> None:
    assert candidates(*words) == found


def test_images_of_the_data_root(web: Onggi) -> None:
    root = ["--data-root", str(web.data_root)]
    assert candidates(*root, "rmi", "") == ["web:v1", "web:v2"]
    assert candidates(*root, "rmi", "web:v1", "w") == ["web:v2"]
    assert candidates(*root, "history", "--format", "x", "web:v2") == ["web:v2"]
    assert candidates(*root, "tag", "web:v1", "new", "") == []
    assert candidates("rmi", f"--data-root={web.data_root}", "") == ["web:v1", "web:v2"]


@pytest.fixture
def shell_environment(tmp_path: Path, web: Onggi) -> dict[str, str]:
    """An environment where ``onggi`` is this checkout's program on the data root of ``web``."""
    import sys

    program = tmp_path / "onggi"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m onggi "$@"\n')
    program.chmod(0o755)
    environment = onggi_environment(ONGGI_DATA_ROOT=str(web.data_root), TERM="dumb")
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    return {**environment, "HOME": str(tmp_path)}


def bash_reply(line: str) -> list[str]:
    script = (
        'source <(onggi completion bash); COMP_LINE="$1"; COMP_POINT=${#1}; _onggi; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return ["bash", "--norc", "-c", script, "bash", line]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("onggi im", ["image", "images", "import"]),
        ("onggi rmi we", ["web:v1", "web:v2"]),
        ("onggi rmi web:", ["v1", "v2"]),
        ("onggi rmi web:v1 ", ["web:v2"]),
        ("onggi pull --progress=", ["auto", "tty", "plain", "json"]),
        ("onggi --data-root /et", ["/etc"]),
    ],
)
def test_bash(shell_environment: dict[str, str], line: str, reply: list[str]) -> None:
    done = subprocess.run(bash_reply(line), capture_output=True, text=True, env=shell_environment, check=True)
    assert done.stderr == ""
    assert done.stdout.split() == reply


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_parse(shell_environment: dict[str, str], shell: str) -> None:
    script = subprocess.run(
        ["onggi", "completion", shell], capture_output=True, text=True, env=shell_environment, check=True
    ).stdout
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif("fish" not in SHELLS, reason="fish is not installed")
def test_fish(shell_environment: dict[str, str]) -> None:
    code = "onggi completion fish | source; complete -C 'onggi rmi we'; complete -C 'onggi pull --progress='"
    done = subprocess.run(
        ["fish", "-c", code], capture_output=True, text=True, env=shell_environment, check=True
    )
    assert done.stdout.split() == [
        "web:v1", "web:v2", "--progress=auto", "--progress=json", "--progress=plain", "--progress=tty",
    ]  # fmt: skip


def test_unknown_shell(web: Onggi) -> None:
    done = web.run("completion", "tcsh", check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "Error: no completion for tcsh (there is one for bash, zsh, fish)\n",
    )


def test_volumes_of_the_data_root(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "volumes" / name / "_data").mkdir(parents=True)
    (tmp_path / "volumes" / "no volume").mkdir()
    root = ["--data-root", str(tmp_path), "volume"]
    assert candidates(*root, "rm", "") == ["one", "two"]
    assert candidates(*root, "inspect", "one", "t") == ["two"]


def test_names_of_everything_in_the_data_root(full: Onggi) -> None:
    """Containers, networks and volumes, as arguments and as values of flags."""
    for words in (("create", "--name", "first", "web:v1", "x"), ("create", "--name", "other", "web:v2", "x")):
        full.run(*words)
    full.run("network", "create", "net")
    full.run("volume", "create", "data")
    root = ["--data-root", str(full.data_root)]
    assert (
        candidates(*root, "start", "") == candidates(*root, "container", "rm", "-f", "") == ["first", "other"]
    )
    assert candidates(*root, "stop", "first", "") == ["other"]
    assert candidates(*root, "exec", "-it", "f") == ["first"]
    assert candidates(*root, "exec", "first", "") == []
    assert candidates(*root, "run", "--volumes-from", "o") == ["other"]
    assert candidates(*root, "run", "web:v1", "") == []
    assert candidates(*root, "network", "connect", "n") == ["net", "none"]
    assert candidates(*root, "network", "connect", "net", "f") == ["first"]
    assert candidates(*root, "run", "--network=n") == ["--network=net", "--network=none"]
    assert candidates(*root, "volume", "inspect", "") == ["data"]
    everything = ["bridge", "data", "first", "host", "net", "none", "other", "web:v1", "web:v2"]
    assert candidates(*root, "inspect", "") == everything
    assert candidates(*root, "inspect", "--type", "volume", "") == ["data"]


def test_hidden_flags_are_not_offered() -> None:
    assert candidates("volume", "create", "--n") == []
    assert candidates("stop", "--ti") == ["--timeout"]

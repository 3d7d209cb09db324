"""Words, usage texts and exit statuses are those of Docker's command line 28.2, its name apart."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.peers.daemon import onggi_environment
from tests.peers.fixtures import Onggi

USAGE_IMAGES = (
    "Usage:  onggi images [OPTIONS] [REPOSITORY[:TAG]]\n\nRun 'onggi images --help' for more information\n"
)
USAGE_TAG = (
    "Usage:  onggi tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]\n\nRun 'onggi tag --help' for more information\n"
)


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["images", "--bogus"], 125, f"unknown flag: --bogus\n\n{USAGE_IMAGES}"),
        (["images", "-aZ"], 125, f"unknown shorthand flag: 'Z' in -Z\n\n{USAGE_IMAGES}"),
        (["images", "-f"], 125, f"flag needs an argument: 'f' in -f\n\n{USAGE_IMAGES}"),
        (
            ["--bogus"],
            125,
            "unknown flag: --bogus\n\nUsage:  onggi [OPTIONS] COMMAND [ARG...]\n\n"
            "Run 'onggi --help' for more information\n",
        ),
        (
            ["image", "--bogus"],
            125,
            "unknown flag: --bogus\n\nUsage:  onggi image\n\nRun 'onggi image --help' for more information\n",
        ),
        (["foo"], 1, "onggi: unknown command: onggi foo\n\nRun 'onggi --help' for more information\n"),
        (
            ["image", "foo"],
            1,
            "onggi: unknown command: onggi image foo\n\nUsage:  onggi image\n\n"
            "Run 'onggi image --help' for more information\n",
        ),
        (
            ["image", "lss"],
            1,
            "onggi: unknown command: onggi image lss\n\nDid you mean 'onggi image ls'?\n\n"
            "Usage:  onggi image\n\nRun 'onggi image --help' for more information\n",
        ),
        (
            ["pull"],
            1,
            "onggi: 'onggi pull' requires 1 argument\n\nUsage:  onggi pull [OPTIONS] NAME[:TAG|@DIGEST]\n\n"
            "Run 'onggi pull --help' for more information\n",
        ),
        (
            ["tag", "a"],
            1,
            "onggi: 'onggi tag' requires 2 arguments\n\n"
            "Usage:  onggi tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]\n\n"
            "Run 'onggi tag --help' for more information\n",
        ),
        (
            ["image", "prune", "x"],
            1,
            "onggi: 'onggi image prune' accepts no arguments\n\nUsage:  onggi image prune [OPTIONS]\n\n"
            "Run 'onggi image prune --help' for more information\n",
        ),
        (["images", "a", "b"], 1, f"onggi: 'onggi images' requires at most 1 argument\n\n{USAGE_IMAGES}"),
        (["help", "foo"], 1, "unknown help topic: foo\n"),
        (
            ["-H", "tcp://x", "images"],
            125,
            "Error: -H/--host tcp://x: there is no daemon to connect to "
            "(onggi works on the data root itself: --data-root DIRECTORY)\n",
        ),
        (["stop", "--time", "0", "x"], 1, "Error: No such container: x ('onggi ps -a' lists what is here)\n"),
        (
            ["stop", "--time", "0", "-t", "0", "x"],
            1,
            "conflicting options: cannot specify both --timeout and --time\n",
        ),
        (["tag", "--history", "a", "b"], 1, f"onggi: 'onggi tag' requires 1 argument\n\n{USAGE_TAG}"),
        (
            ["network", "connect", "--driver-opt", "x", "n", "c"],
            1,
            "invalid key/value pair format in driver options\n",
        ),
        (
            ["create", "--storage-opt", "x", "i"],
            125,
            "onggi: invalid storage option\n\nRun 'onggi create --help' for more information\n",
        ),
        (["images", "--format", "{{"], 1, "template parsing error: template: :1: unclosed action\n"),
    ],
)
def test_wrong_words(empty: Onggi, words: list[str], status: int, text: str) -> None:
    environment = onggi_environment(ONGGI_CONFIG=str(empty._config))
    done = subprocess.run(
        [sys.executable, "-m", "onggi", *words], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", text)


def test_version_line(empty: Onggi) -> None:
    assert empty.output("-v") == empty.output("--version") == "Onggi version 0.1.0\n"


def test_errors_are_one_line_with_the_way_out(empty: Onggi) -> None:
    done = empty.run("history", "nope", check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: No such image: nope:latest ('onggi images' lists what is here)\n"


def test_debug_shows_where(empty: Onggi) -> None:
    assert "Traceback" in empty.run("history", "--debug", "nope", check=False).stderr


def test_long_global_flags_may_follow_the_command(web: Onggi, tmp_path) -> None:
    assert web.output("images", "-q", "--data-root", str(tmp_path / "other")) == ""
    assert len(web.output("images", "-q").splitlines()) == 2


def test_a_reader_that_leaves_is_no_fault(web: Onggi) -> None:
    environment = onggi_environment(ONGGI_CONFIG=str(web._config))
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "onggi", "--data-root", str(web.data_root), "inspect", "web:v1"]
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=environment, check=False)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1", "ko_KR.EUC-KR", "C.UTF-8"])
def test_output_is_utf8_in_every_locale(web: Onggi, locale: str) -> None:
    environment = {**onggi_environment(ONGGI_CONFIG=str(web._config)), "LC_ALL": locale}
    command = [sys.executable, "-m", "onggi", "--data-root", str(web.data_root), "history"]
    done = subprocess.run([*command, "web:v1"], capture_output=True, env=environment, check=True)
    assert "…" in done.stdout.decode("utf-8")
    done = subprocess.run([*command, "이미지"], capture_output=True, env=environment, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: ")


def test_closed_standard_output(web: Onggi) -> None:
    environment = onggi_environment(ONGGI_CONFIG=str(web._config))
    command = [sys.executable, "-m", "onggi", "--data-root", str(web.data_root), "images"]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], env=environment, check=False)
    assert done.returncode == 0


def imported(*words: str) -> set[str]:
    """Modules in the interpreter after a command."""
    code = f"import sys; from onggi.cli.main import run; run({list(words)!r}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_imports_nothing_but_the_command_line() -> None:
    modules = imported("--help")
    ours = {name for name in modules if name.startswith("onggi.") and not name.startswith("onggi.cli")}
    assert ours <= {"onggi.version"}
    assert not {"argparse", "asyncio", "ssl", "http", "dataclasses", "pathlib"} & modules


def test_listing_imports_no_network_code(web: Onggi) -> None:
    modules = imported("--data-root", str(web.data_root), "images")
    unused = {"argparse", "asyncio", "ssl", "http.client", "urllib3", "onggi.registry.client"}
    assert not (unused | {"onggi.cli.template", "onggi.cli.progress", "onggi.cli.help"}) & modules

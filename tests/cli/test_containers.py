"""The commands for containers, as programs: streams, exit statuses, a terminal, signals."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.peers.busybox import box_layout
from tests.peers.daemon import onggi_environment
from tests.peers.fixtures import Onggi
from tests.peers.processes import wait_until

NONE = ("--network", "none")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Iterator[Onggi]:
    """A root with library/box."""
    directory = tmp_path_factory.mktemp("shelf")
    with serving(OCILayout(box_layout(directory / "layout").directory)) as url:
        config = directory / "daemon.json"
        config.write_text(json.dumps({"registry-mirrors": [url]}))
        made = Onggi(directory / "root", config)
        made.run("pull", "-q", "box")
        yield made


@pytest.fixture
def box(shelf: Onggi) -> Iterator[Onggi]:
    """Without containers afterwards."""
    yield shelf
    ids = shelf.output("ps", "-aq", "--no-trunc").split()
    if ids:
        shelf.run("rm", "-f", *ids)


def _environment(onggi: Onggi) -> dict[str, str]:
    return onggi_environment(
        ONGGI_CONFIG=str(onggi._config), ONGGI_EXEC_ROOT=str(onggi._config.parent / "run")
    )


def _command(onggi: Onggi, *words: str) -> list[str]:
    return [sys.executable, "-m", "onggi", "--data-root", str(onggi.data_root), *words]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("box", "sh", "-c", "exit 42"), 42, ""),
        (("box", "sh", "-c", "echo e >&2; kill -9 $$; exit 1"), 1, "e\n"),
        (("box", "nope"), 127, "executable file not found in \\$PATH"),
        (("box", "/etc"), 126, "permission denied"),
        (("--cap-add", "FLY", "box", "true"), 125, 'unknown capability: "CAP_FLY"'),
        (
            ("-m", "3x", "box", "true"),
            125,
            'invalid argument "3x" for "-m, --memory" flag: invalid size: \'3x\'',
        ),
        (("--nope", "box"), 125, "unknown flag: --nope"),
        (
            ("--rm", "--restart", "always", "box"),
            125,
            "conflicting options: cannot specify both --restart and --rm",
        ),
        (
            ("-d", "-a", "stdout", "box"),
            1,
            "conflicting options: cannot specify both --attach and --detach",
        ),
        (("-it", "box", "sh"), 1, "the input device is not a TTY"),
        (("--pull", "never", "absent"), 125, "No such image: absent:latest"),
        (("-e", "=x", "box"), 125, "invalid environment variable: =x"),
        (("--ulimit", "x=1", "box"), 125, "invalid ulimit type: x"),
        (("--env-file", "/nonexistent", "box"), 125, "open /nonexistent: no such file or directory"),
    ],
)
def test_run_and_its_status(box: Onggi, words: tuple[str, ...], status: int, said: str) -> None:
    done = box.run("run", *NONE, *words, check=False)
    assert done.returncode == status
    assert re.search(said if "\\" in said else re.escape(said), done.stderr)


def test_flags_end_at_the_image(box: Onggi) -> None:
    assert box.output("run", "--rm", *NONE, "box", "echo", "--rm", "-e") == "--rm -e\n"


def test_input_and_separate_streams(box: Onggi) -> None:
    done = box.run("run", "-i", "--rm", *NONE, "box", "sh", "-c", "cat; echo e >&2", stdin="words\n")
    assert (done.stdout, done.stderr) == ("words\n", "e\n")
    assert box.output("ps", "-aq") == ""


def test_environment_and_labels_from_files(box: Onggi, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\nA=file\n\nB=file\nPATH\n")
    words = ("--env-file", str(file), "-e", "B=own", "--label-file", str(file), "--name", "filed")
    said = box.output("run", *NONE, *words, "box", "sh", "-c", "echo $A $B")
    assert said == "file own\n"
    assert box.output("inspect", "-f", "{{.Config.Labels.A}}", "filed") == "file\n"


def test_a_life(box: Onggi, tmp_path: Path) -> None:
    cidfile = tmp_path / "cid"
    id = box.output(
        "run", "-d", "--name", "lived", "--cidfile", str(cidfile), *NONE, "box", "sleep", "100"
    ).strip()
    assert cidfile.read_text() == id
    assert (
        "make sure the other container isn't running"
        in box.run("run", "--cidfile", str(cidfile), "box", check=False).stderr
    )
    header, row = box.output("ps").splitlines()
    assert header.split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert row.startswith(f'{id[:12]}   box       "sleep 100"')
    assert box.output("exec", "lived", "echo", "in").strip() == "in"
    assert box.run("exec", "lived", "sh", "-c", "exit 9", check=False).returncode == 9
    assert box.run("exec", "lived", "nope", check=False).returncode == 127
    assert box.run("exec", "-i", "lived", "cat", stdin="x").stdout == "x"
    box.run("exec", "-d", "lived", "touch", "/made")
    wait_until(lambda: box.run("exec", "lived", "ls", "/made", check=False).returncode == 0, "the exec")
    for word in ("pause", "unpause", "kill"):
        assert box.output(word, "lived") == "lived\n"
    assert box.output("wait", "lived") == "137\n"
    assert box.output("ps", "-a", "--format", "{{.Names}} {{.State}}") == "lived exited\n"
    assert box.output("inspect", "-f", "{{.State.ExitCode}} {{.Name}}", "lived") == "137 /lived\n"
    assert box.output("rename", "lived", "gone") == ""
    missing = box.run("rm", "gone", "nope", check=False)
    assert (missing.stdout, missing.returncode) == ("gone\n", 1)
    assert "No such container: nope" in missing.stderr
    assert box.run("rm", "-f", "nope", check=False).returncode == 0


def test_create_start_logs_prune(box: Onggi) -> None:
    id = box.output(
        "create", *NONE, "--name", "made", "box", "sh", "-c", "echo a; sleep 0.1; echo b; exit 6"
    ).strip()
    started = box.run("start", "-a", "made", check=False)
    assert (started.stdout, started.returncode) == ("a\nb\n", 6)
    assert box.output("logs", "-n", "1", "made") == "b\n"
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z b\n", box.output("logs", "-t", "-n", "1", "made")
    )
    assert (
        box.output("container", "prune", "-f") == f"Deleted Containers:\n{id}\n\nTotal reclaimed space: 0B\n"
    )


def test_signals_are_passed_on(box: Onggi) -> None:
    script = "trap 'echo got; exit 8' TERM; echo ready; while :; do sleep 0.05; done"
    child = subprocess.Popen(
        _command(box, "run", "--rm", *NONE, "box", "sh", "-c", script),
        env=_environment(box),
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGTERM)
    assert child.stdout.read() == b"got\n"
    assert child.wait(20) == 8


class Terminal:
    """A command in a pseudo-terminal."""

    def __init__(self, onggi: Onggi, *words: str) -> None:
        command, environment = _command(onggi, *words), _environment(onggi)
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, environment)

    def until(self, wanted: bytes, timeout_s: float = 20) -> bytes:
        said, end = b"", time.monotonic() + timeout_s
        while wanted not in said:
            assert time.monotonic() < end, said
            if select.select([self._fd], [], [], 0.2)[0]:
                said += os.read(self._fd, 4096)
        return said

    def type(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def end(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)


def test_a_terminal_and_the_keys_that_let_go(box: Onggi) -> None:
    terminal = Terminal(
        box,
        "run",
        "-it",
        "--name",
        "typed",
        *NONE,
        "box",
        "sh",
        "-c",
        "tty; read x; echo [$x]; read y; exit 4",
    )
    terminal.until(b"/dev/pts/0")
    terminal.type(b"word\n")
    terminal.until(b"[word]")
    terminal.type(b"\x10\x11")
    assert terminal.end() == 0
    assert box.output("ps", "--format", "{{.Names}}") == "typed\n"
    again = Terminal(box, "attach", "typed")
    time.sleep(0.5)
    again.type(b"\n")
    assert again.end() == 4


def test_diff_formats(box: Onggi) -> None:
    box.run("run", "--name", "changed", *NONE, "box", "sh", "-c", "echo 12345 > /f; rm /etc/group")
    assert box.output("diff", "changed") == "C /etc\nD /etc/group\nA /f\n"
    assert box.output("diff", "--format", "{{.Path}}:{{.Type}}", "changed") == "/etc:C\n/etc/group:D\n/f:A\n"
    assert box.output("diff", "--format", "table", "changed").splitlines()[:2] == [
        "CHANGE TYPE   PATH",
        "C             /etc",
    ]
    rows = json.loads(box.output("diff", "--json", "changed"))
    assert rows[-1] == {"Kind": "A", "Path": "/f", "Size": 6}


def test_export_refuses_a_terminal(box: Onggi) -> None:
    box.run("create", "--name", "terminal", *NONE, "box")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        _command(box, "export", "terminal"),
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=_environment(box),
        check=False,
    )
    os.close(theirs), os.close(ours)
    assert done.returncode == 1
    assert done.stderr == b"cowardly refusing to save to a terminal. Use the -o flag or redirect\n"

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path

from tests.cli.test_pull import start
from tests.peers.fixtures import Onggi


def test_save_and_load_through_pipes(full: Onggi, tmp_path: Path) -> None:
    process = start(full, "save", "web", stdout=subprocess.PIPE)
    archive, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    other = Onggi(tmp_path / "other", full._config)
    process = start(other, "load", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = process.communicate(archive, timeout=30)
    assert (process.returncode, out) == (0, b"Loaded image: web:v1\nLoaded image: web:v2\n")
    assert full.output("images", "-q", "--no-trunc") == other.output("images", "-q", "--no-trunc")
    events = full.output("events", "--since", "1h", "--until", "0s", "--filter", "event=save")
    assert len(re.findall(r"image save sha256:[0-9a-f]{64} \(", events)) == 2


def test_a_terminal_is_refused(full: Onggi) -> None:
    master, terminal = pty.openpty()
    process = start(full, "save", "web:v1", stdout=terminal, stderr=subprocess.PIPE)
    _, err = process.communicate(timeout=30)
    assert err == b"cowardly refusing to save to a terminal. Use the -o flag or redirect\n"
    process_in = start(full, "load", stdin=terminal, stderr=subprocess.PIPE)
    _, err = process_in.communicate(timeout=30)
    assert err == b"requested load from stdin, but stdin is empty\n"
    assert (process.returncode, process_in.returncode) == (1, 1)
    os.close(master)
    os.close(terminal)


def test_what_load_shows(full: Onggi, tmp_path: Path) -> None:
    path = str(tmp_path / "web.tar")
    full.run("image", "save", "--output", path, "web:v1")
    other = Onggi(tmp_path / "other", full._config)
    master, terminal = pty.openpty()
    process = start(other, "load", "-i", path, stdout=terminal)
    os.close(terminal)
    drawn = b""
    try:
        while piece := os.read(master, 65536):
            drawn += piece
    except OSError:
        pass
    assert process.wait(30) == 0
    os.close(master)
    assert re.search(rb"[0-9a-f]{12}: Loading layer .*\d+(\.\d+)?kB/\d+(\.\d+)?kB\r", drawn)
    assert drawn.endswith(b"Loaded image: web:v1\r\n")
    assert other.output("image", "load", "-q", "-i", path) == "Loaded image: web:v1\n"
    documents = [json.loads(line) for line in other.output("load", "--json", "-i", path).splitlines()]
    assert documents[0] == {"status": "Loaded image: web:v1"}
    assert documents[-1]["aux"]["ID"] == full.output("images", "-q", "--no-trunc", "web:v1").strip()


def test_errors_are_one_line(full: Onggi, tmp_path: Path) -> None:
    (tmp_path / "rootfs.tar").write_bytes(bytes(10240))
    for words, text in (
        (("load", "-i", str(tmp_path / "nope")), "Error: open /"),
        (("load", "-i", str(tmp_path / "rootfs.tar")), "Error: no image archive"),
        (("load", "-i", str(tmp_path)), "Error: no image archive"),
        (("save", "-o", str(tmp_path / "o"), "--compression", "gzip", "web:v1"), "Error: layers of a docker"),
        (("save", "-o", "/dev/full", "web:v1"), "Error: failed to save image: cannot write to a character"),
    ):
        done = full.run(*words, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert done.stderr.startswith(text)


def test_only_a_file_is_replaced(full: Onggi, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("elsewhere")
    for path, text in (
        (tmp_path, "a directory"),
        (tmp_path / "pipe", "a named pipe (FIFO)"),
        (tmp_path / "link", "a symbolic link directly"),
        (Path("/dev/null"), "a character device file"),
    ):
        done = full.run("save", "-o", str(path), "web:v1", check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(f"Error: failed to save image: cannot write to {text}")
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_under_the_output_is_named(full: Onggi) -> None:
    with open("/dev/full", "wb") as disk:
        process = start(full, "save", "web:v1", stdout=disk, stderr=subprocess.PIPE)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.count(b"\n") == 1
    assert b"no space left on device" in errors


def test_a_reader_that_leaves_ends_save(full: Onggi) -> None:
    full.run("pull", "-q", "big")
    process = start(full, "save", "big", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(30) == 141

"""The tour keeps its promises, and says so when one is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from demo.content import write_content
from demo.programs import tiny_program
from demo.stage import BrokenPromise, Stage
from demo.terminal import run_in_terminal, screen

from onggi.oci.platform import Platform

ROOT = Path(__file__).parents[2]


def test_every_promise_is_kept() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("Every promise was kept.\n")
    assert "$ onggi pull nginx:latest\nlatest: Pulling from library/nginx\n" in done.stdout


def test_a_broken_promise_ends_the_tour(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(BrokenPromise, match="`false` ended with 1"):
        stage.run("false")
    with pytest.raises(BrokenPromise, match="expected: 2"):
        stage.equal(1, 2, "words")


def test_the_images_are_the_same_every_time(tmp_path: Path) -> None:
    first, second = write_content(tmp_path / "1"), write_content(tmp_path / "2")
    assert (first.index, first.image_id, first.diff_ids) == (second.index, second.image_id, second.diff_ids)


def test_the_program_made_by_hand_runs(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(tiny_program(Platform.host().architecture))
    program.chmod(0o755)
    assert subprocess.run([program], capture_output=True, check=True).stdout.startswith(b"Served by")


def test_a_screen_shows_what_stands_there_at_the_end() -> None:
    progress = (
        "tag: Pulling\r\n\r\n\x1b[1A\x1b[2K\ra: Waiting \r\x1b[1B\r\n\x1b[1A\x1b[2K\rb: Waiting \r\x1b[1B"
    )
    done = "\x1b[2A\x1b[2K\ra: Done \r\x1b[2B\x1b[1A\x1b[2K\rb: Done \r\x1b[1BDigest: x\r\n"
    assert screen(progress + done) == "tag: Pulling\na: Done\nb: Done\nDigest: x\n"


def test_a_command_in_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = run_in_terminal(["/bin/sh", "-c", "test -t 1 && pwd; exit 3"], tmp_path, os.environ)
    assert (code, shown) == (3, f"{tmp_path}\n")
    assert capsys.readouterr().out == shown

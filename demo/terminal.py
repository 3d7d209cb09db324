"""A command in a pseudo-terminal, and what stands on the screen when it has ended.

The few control sequences that Docker's progress uses::

    ESC [ n A    up n lines          ESC [ 2 K    erase the line
    ESC [ n B    down n lines        CR, LF       to the first column; one line down
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["run_in_terminal", "screen"]

_TOKEN = re.compile(r"\x1b\[(\d*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")
_ROWS, _COLUMNS = 50, 100


def run_in_terminal(
    command: Sequence[str], directory: Path, environment: Mapping[str, str]
) -> tuple[int, str]:
    """Exit code and final screen. What happens in between is shown where we have a terminal ourselves."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (_ROWS, _COLUMNS))
    live = sys.stdout.isatty()
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        output = bytearray()
        while piece := _read(ours):
            output += piece
            if live:
                os.write(sys.stdout.fileno(), piece)
        os.close(ours)
    shown = screen(output.decode("utf-8", "replace"))
    if not live:
        sys.stdout.write(shown)
        sys.stdout.flush()
    return process.returncode, shown


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # EIO: the other end is closed
        return b""


def screen(output: str) -> str:
    """The lines that stand there at the end, without blanks at their ends."""
    lines: list[list[str]] = [[]]
    row = column = 0
    for match in _TOKEN.finditer(output):
        count, letter, control, text = match.groups()
        if letter == "A":
            row = max(row - int(count or 1), 0)
        elif letter == "B" or control == "\n":
            row += int(count or 1)
        elif letter == "K":
            lines[row].clear()
        elif control == "\r":
            column = 0
        elif text:
            lines[row][column:] = (
                [" "] * (column - len(lines[row])) + list(text) + lines[row][column + len(text) :]
            )
            column += len(text)
        while len(lines) <= row:
            lines.append([])
    return "".join("".join(line).rstrip() + "\n" for line in lines).rstrip("\n") + "\n"

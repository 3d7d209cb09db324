"""A command line at a terminal: keys typed at it, what is seen on it, how it is left."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from tests.peers.processes import require

__all__ = ["Size", "Terminal"]

_SEEN_S = 20.0
_READ_BYTES = 64 * 1024

Size = tuple[int, int]
"""Height and width, in characters."""


class Terminal:
    """One command on a new pty, which controls it; a context manager that ends the command for sure.

    ``stdin``: a pipe that says this, in place of the keyboard.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        size: Size = (24, 80),
        stdin: bytes | None = None,
    ) -> None:
        self._master, slave = os.openpty()
        self.seen = b""
        self._looked = 0
        self.resize(*size)
        self._modes = self._now()
        self._process = subprocess.Popen(
            [require("setsid"), *(["--ctty"] if stdin is None else []), *command],
            stdin=slave if stdin is None else subprocess.PIPE,
            stdout=slave,
            stderr=slave,
            env=environment,
        )
        os.close(slave)
        if stdin is not None:
            assert self._process.stdin is not None
            self._process.stdin.write(stdin)
            self._process.stdin.close()

    def _now(self) -> list[Any]:
        """Of a pty's controlling side these are the modes of the other."""
        return termios.tcgetattr(self._master)

    @property
    def restored(self) -> bool:
        """True when its modes are those of the beginning."""
        return self._now() == self._modes

    def resize(self, height: int, width: int) -> None:
        """What is on it hears of it by SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def send_signal(self, number: signal.Signals) -> None:
        """To the command alone; the keyboard's go to all that are on the terminal."""
        self._process.send_signal(number)

    def type(self, keys: bytes) -> None:
        """Type, reading what comes meanwhile: neither side waits for the other."""
        os.set_blocking(self._master, False)
        while keys:
            _, writable, _ = select.select([], [self._master], [], 0.05)
            if writable:
                try:
                    keys = keys[os.write(self._master, keys[:1024]) :]
                except BlockingIOError:
                    pass
            self._read(0)

    def wait_until_raw(self) -> None:
        """Until the command has changed its modes."""
        end = time.monotonic() + _SEEN_S
        while self.restored:
            self._read(0.02)
            assert time.monotonic() < end, f"it is not raw after {self.seen!r}"

    def wait_for(self, pattern: str) -> None:
        """Until ``pattern`` is seen, after what was waited for before."""
        end = time.monotonic() + _SEEN_S
        while not (match := re.compile(pattern.encode()).search(self.seen, self._looked)):
            self._read(0.2)
            assert time.monotonic() < end, f"{pattern!r} is not in {self.seen!r}"
        self._looked = match.end()

    def _read(self, timeout_s: float) -> bool:
        """True when something was read; False also when nobody has the other side any more."""
        if not select.select([self._master], [], [], timeout_s)[0]:
            return False
        try:
            data = os.read(self._master, _READ_BYTES)
        except OSError:
            return False
        self.seen += data
        return bool(data)

    def end(self) -> int:
        """Its exit status as a shell tells it, once it has ended; all it wrote has been seen then."""
        end = time.monotonic() + _SEEN_S
        while self._process.poll() is None:
            self._read(0.02)
            assert time.monotonic() < end, f"it goes on after {self.seen!r}"
        while self._read(1.0):
            pass
        code = self._process.returncode
        return code if code >= 0 else 128 - code

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)

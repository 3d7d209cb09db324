"""A terminal, or pipes, joined to a process in a container: ``run``, ``start -a``, ``attach``, ``exec``.

The main thread writes what the process says; a second one reads standard input, so that
neither direction waits for the other. With a terminal on both sides it is made raw, its size
follows, and a sequence of keys (Ctrl-P Ctrl-Q) lets go. Signals are passed on where that is asked
for; elsewhere they end this process, and the terminal is put right first.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from onggi.cli.session import Failure
from onggi.cli.signal_acts import Act, acting_on_signals
from onggi.errors import OnggiError
from onggi.record import record
from onggi.runtime.client import Attached
from onggi.runtime.supervisor.protocol import STDERR

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.containers.container import Container

__all__ = ["LET_GO", "Detached", "Join", "check_terminal", "join", "join_container", "terminal_size"]

LET_GO = "read escape sequence"
"""What ``attach`` and ``exec`` say, and fail with, when they were let go of by keys."""

_READ_BYTES = 32 * 1024
# Not passed on: they are about this process (its place at the terminal, its children), or cannot be caught.
_OWN_SIGNALS = frozenset(
    {signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGKILL, signal.SIGSTOP}
    | {signal.SIGTTIN, signal.SIGTTOU}
)
# What ends this process alone, where nothing is passed on.
_ENDING_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Detached(Exception):
    """The user let go by keys; the process goes on."""


@record
class Join:
    """How to be joined. ``resize`` gets height and width, ``send_signal`` a number; None: no such thing."""

    attached: Attached
    stdin: bool
    tty: bool
    keys: bytes
    resize: Callable[[int, int], object]
    send_signal: Callable[[int], object] | None


def check_terminal(*, stdin: bool, tty: bool) -> None:
    """A terminal in the container is typed at from a terminal. Raises Failure."""
    if stdin and tty and not os.isatty(0):
        raise Failure("the input device is not a TTY")


def terminal_size() -> tuple[int, int]:
    """Height and width of the terminal of standard output; zeros when there is none."""
    try:
        size = os.get_terminal_size(1)
    except (OSError, ValueError):
        return 0, 0
    return size.lines, size.columns


def join(wanted: Join) -> dict[str, Any] | None:
    """Until the process has ended: its result, or None when its supervisor went away. Raises Detached."""
    with _raw_terminal(wanted) as put_back, acting_on_signals(_acts(wanted, put_back)):
        if wanted.tty:
            _follow_size(wanted)
        if wanted.stdin:
            from threading import Thread

            Thread(target=_feed, args=(wanted,), name="onggi-stdin", daemon=True).start()
        _write_output(wanted)
    if wanted.attached.closed:
        raise Detached
    return wanted.attached.result


def join_container(
    container: Container, attached: Attached, *, stdin: bool, tty: bool, keys: bytes, proxy: bool = True
) -> int | None:
    """Until the container has ended: its status; None when the user let go by keys.

    ``proxy``: signals are passed on.
    """
    send_signal = container.send_signal if proxy else None
    try:
        result = join(Join(attached, stdin, tty, keys, container.resize, send_signal))
    except Detached:
        return None
    return container.wait() if result is None else int(result["exit"])


def _write_output(wanted: Join) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        for kind, data in wanted.attached:
            _write(2 if kind == STDERR and not wanted.tty else 1, data)
    except OSError:
        if wanted.attached.result is None and not wanted.attached.closed:
            raise


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _feed(wanted: Join) -> None:
    """Standard input to the process, until its end or the keys that let go."""
    watch = _KeyWatch(wanted.keys if wanted.tty else b"")
    try:
        while data := os.read(0, _READ_BYTES):
            passed, matched = watch.feed(data)
            if passed:
                wanted.attached.write(passed)
            if matched:
                wanted.attached.shut_down()
                return
    except OSError:
        return  # the process has ended, or the terminal is gone
    wanted.attached.close_input()


class _KeyWatch:
    """Finds a sequence of keys in what is typed; what only began like it is passed on late."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What to pass on, and whether the sequence is complete."""
        if not self._keys:
            return data, False
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(passed), True
                continue
            passed += self._keys[: self._matched]
            self._matched = 0
            if byte == self._keys[0]:
                self._matched = 1
            else:
                passed.append(byte)
        return bytes(passed), False


# --- the terminal -------------------------------------------------------------------------------


@contextmanager
def _raw_terminal(wanted: Join) -> Iterator[Callable[[], object] | None]:
    """Every key goes through; gives what puts it back (the end does it in any case), None: nothing to."""
    if not (wanted.tty and wanted.stdin and os.isatty(0)):
        yield None
        return
    import termios
    import tty

    saved = termios.tcgetattr(0)

    def put_back() -> None:
        termios.tcsetattr(0, termios.TCSANOW, saved)

    tty.setraw(0, termios.TCSANOW)
    try:
        yield put_back
    finally:
        put_back()


def _acts(wanted: Join, put_back: Callable[[], object] | None) -> dict[int, Act | None]:
    """Sizes follow; signals are passed on, or end this process and leave the terminal as it was."""
    acts: dict[int, Act | None] = {}
    if wanted.send_signal is not None:
        acts = dict.fromkeys(signal.valid_signals() - _OWN_SIGNALS, lambda number: _pass_on(wanted, number))
    else:
        heard = [number for number in _ENDING_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        acts = dict.fromkeys(heard, None if put_back is None else partial(_end, put_back))
    if wanted.tty:
        acts[signal.SIGWINCH] = lambda number: _follow_size(wanted)
    return acts


def _end(put_back: Callable[[], object], number: int) -> None:
    """At once, as a shell tells a death by the signal."""
    put_back()
    os._exit(128 + number)


def _follow_size(wanted: Join) -> None:
    height, width = terminal_size()
    if height and width:
        try:
            wanted.resize(height, width)
        except OnggiError:
            return  # it has just ended


def _pass_on(wanted: Join, number: int) -> None:
    assert wanted.send_signal is not None
    try:
        wanted.send_signal(number)
    except OnggiError:
        return  # it has just ended

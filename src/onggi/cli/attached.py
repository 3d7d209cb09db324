"""A terminal, or pipes, joined to a process in a container: ``run``, ``start -a``, ``attach``, ``exec``.

The main thread writes what the process says; a second one reads standard input, so that
neither direction waits for the other. With a terminal on both sides it is made raw, its size
follows, and a sequence of keys (Ctrl-P Ctrl-Q) lets go; without one, signals are passed on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from onggi.cli.session import Failure
from onggi.errors import Conflict, OnggiError
from onggi.record import record
from onggi.runtime.client import Attached
from onggi.runtime.supervisor.protocol import STDERR

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.containers.container import Container

__all__ = ["Detached", "Join", "check_terminal", "join", "join_container", "parse_keys", "terminal_size"]

_READ_BYTES = 32 * 1024
_DEFAULT_KEYS = "ctrl-p,ctrl-q"
# Not passed on: they are about this process (its terminal, its children), or cannot be caught.
_OWN_SIGNALS = frozenset(
    {signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGKILL, signal.SIGSTOP}
    | {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT}
)


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


def parse_keys(text: str) -> bytes:
    """``ctrl-p,ctrl-q`` as the bytes that a terminal sends. Raises Failure."""
    keys = bytearray()
    for word in (text or _DEFAULT_KEYS).split(","):
        if len(word) == 1:
            keys += word.encode()
            continue
        letter = word.removeprefix("ctrl-")
        if (
            not word.startswith("ctrl-")
            or len(letter) != 1
            or letter not in "abcdefghijklmnopqrstuvwxyz@[\\]^_"
        ):
            raise Failure(f"invalid detach keys ({text}): Unknown character: '{word}'")
        keys.append(ord(letter.upper()) - 64)
    return bytes(keys)


def join(wanted: Join) -> dict[str, Any] | None:
    """Until the process has ended: its result, or None when its supervisor went away. Raises Detached."""
    with _raw_terminal(wanted), _signals(wanted):
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

    ``proxy``: signals are passed on, where there is no terminal that does it.
    """
    send_signal = container.send_signal if proxy and not tty else None
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
def _raw_terminal(wanted: Join) -> Iterator[None]:
    """Every key goes through; put back at the end, however that comes."""
    if not (wanted.tty and wanted.stdin and os.isatty(0)):
        yield
        return
    import termios
    import tty

    saved = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSANOW, saved)


@contextmanager
def _signals(wanted: Join) -> Iterator[None]:
    """Sizes follow, signals are passed on; handlers are put back at the end."""
    saved: dict[int, Any] = {}
    if wanted.tty:
        saved[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda number, frame: _follow_size(wanted))
        _follow_size(wanted)
    elif wanted.send_signal is not None:
        for number in signal.valid_signals() - _OWN_SIGNALS:
            try:
                saved[number] = signal.signal(number, lambda number, frame: _pass_on(wanted, number))
            except (OSError, ValueError):
                continue  # the C library keeps two for itself
    try:
        yield
    finally:
        for caught, handler in saved.items():
            signal.signal(caught, handler if handler is not None else signal.SIG_DFL)


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
    except Conflict:
        return  # it has just ended

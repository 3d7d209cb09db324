"""Signals that are acted upon at once, whatever the main thread waits for.

A handler in Python runs in the main thread between two of its steps. A signal that comes just before
that thread goes into a system call is noticed when the call is over, which may be never. So the
interpreter writes the number down a pipe (``set_wakeup_fd``), and a thread acts on it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Act", "acting_on_signals"]

_MANY = 64
Act = Callable[[int], object]


@contextmanager
def acting_on_signals(acts: Mapping[int, Act | None]) -> Iterator[None]:
    """Inside, a signal's act is called with its number; None: the kernel's own. In the main thread only."""
    from threading import Thread

    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    listener = Thread(target=_listen, args=(read_end, acts), name="onggi-signals", daemon=True)
    previous_fd = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    previous = _install(acts)
    listener.start()
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(previous_fd)
        os.close(write_end)
        listener.join()
        os.close(read_end)


def _listen(read_end: int, acts: Mapping[int, Act | None]) -> None:
    while numbers := os.read(read_end, _MANY):
        for number in numbers:
            act = acts.get(number)
            if act is not None:
                act(number)


def _install(acts: Mapping[int, Act | None]) -> dict[int, Any]:
    """Gives the handlers that were there."""
    previous: dict[int, Any] = {}
    for number, act in acts.items():
        try:
            previous[number] = signal.signal(number, signal.SIG_DFL if act is None else _noticed)
        except (OSError, ValueError):
            continue  # the C library keeps two for itself
    return previous


def _noticed(number: int, frame: object) -> None:
    """The thread acts; with no handler in Python the interpreter would write nothing."""

"""A long verb in a thread of its own, its events drawn by the main thread.

So Ctrl-C reaches a thread that only waits: it cancels the verb, and the verb ends in order.
A slow terminal never holds the transfer up.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, NoReturn, TypeVar

from onggi.cancel import CancelToken
from onggi.cli.session import Terminated
from onggi.progress import ProgressEvent, ProgressSink

__all__ = ["run_watched"]

T = TypeVar("T")


class _Verb(Generic[T]):
    """The thread, its events, and how it ended."""

    def __init__(self, verb: Callable[[ProgressSink, CancelToken], T]) -> None:
        self.cancel = CancelToken()
        self.result: T
        self.error: BaseException | None = None
        self.events: queue.SimpleQueue[ProgressEvent | None] = queue.SimpleQueue()
        self._verb = verb
        threading.Thread(target=self._run, name="onggi-verb", daemon=True).start()

    def _run(self) -> None:
        try:
            self.result = self._verb(self.events.put, self.cancel)
        except BaseException as error:
            self.error = error
        finally:
            self.events.put(None)


def run_watched(verb: Callable[[ProgressSink, CancelToken], T], draw: ProgressSink) -> T:
    """Run ``verb(sink, cancel)`` and draw its events; returns its result or raises its error.

    KeyboardInterrupt, or an error of ``draw`` (a pipe whose reader left), cancels the verb,
    waits for its end and is raised again; SIGTERM comes as :class:`Terminated`. A second
    signal does not wait.
    """
    with _sigterm_raises():
        running = _Verb(verb)
        try:
            while (event := running.events.get()) is not None:
                draw(event)
        except BaseException:
            running.cancel.cancel()
            while running.events.get() is not None:
                pass
            raise
    if running.error is not None:
        raise running.error
    return running.result


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM raise Terminated here, where this is the main thread; other threads get no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: object) -> NoReturn:
    raise Terminated

"""One thread that waits for everything: descriptors, times, children that ended."""

from __future__ import annotations

import heapq
import os
import select
import signal
import time
from collections.abc import Callable

__all__ = ["Loop", "Timer"]

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
# Ends of children that nobody asked for: most are orphans of the container, and nobody will.
_KEPT_ENDS = 256

Callback = Callable[[int], None]


class Timer:
    """A call that waits for its time; :meth:`cancel` takes it back."""

    __slots__ = ("_call", "due")

    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due = due
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """It will not be called."""
        self._call = None

    def fire(self) -> None:
        """Call it, once."""
        call, self._call = self._call, None
        if call is not None:
            call()

    def __lt__(self, other: Timer) -> bool:
        return self.due < other.due


class Loop:
    """Runs until :meth:`stop`. Callbacks get the epoll events of their descriptor.

    Who watches a descriptor unwatches it before closing it. The end of a child that nobody
    asked for yet is kept for who asks.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Callback] = {}
        self._timers: list[Timer] = []
        self._children: dict[int, Callable[[int], None]] = {}
        self._ended: dict[int, int] = {}
        self._stopped = False
        self._wake, wake_up = os.pipe()
        os.set_blocking(wake_up, False)
        os.set_blocking(self._wake, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake_up, warn_on_full_buffer=False)
        self.watch(self._wake, READ, self._reap)

    # --- descriptors ------------------------------------------------------------------------

    def watch(self, fd: int, events: int, callback: Callback) -> None:
        """Call back on ``events`` (READ, WRITE); again to change them. The end always calls."""
        if fd in self._watched:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._watched[fd] = callback

    def unwatch(self, fd: int) -> None:
        """No more calls for ``fd``; no error when it is not watched."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    # --- times ------------------------------------------------------------------------------

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call once, ``seconds`` from now."""
        timer = Timer(time.monotonic() + seconds, call)
        heapq.heappush(self._timers, timer)
        return timer

    # --- children ---------------------------------------------------------------------------

    def on_exit(self, pid: int, call: Callable[[int], None]) -> None:
        """Call with the status of ``waitpid`` when the child ends, at once if it has."""
        if pid in self._ended:
            call(self._ended.pop(pid))
        else:
            self._children[pid] = call

    def _reap(self, events: int) -> None:
        try:
            os.read(self._wake, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            call = self._children.pop(pid, None)
            if call is None:
                self._ended[pid] = status
                if len(self._ended) > _KEPT_ENDS:
                    del self._ended[next(iter(self._ended))]
            else:
                call(status)

    # --- running ----------------------------------------------------------------------------

    def run(self) -> None:
        """Until :meth:`stop`."""
        while not self._stopped:
            for fd, events in self._epoll.poll(self._patience()):
                callback = self._watched.get(fd)
                if callback is not None:
                    callback(events)
            now = time.monotonic()
            while self._timers and self._timers[0].due <= now:
                heapq.heappop(self._timers).fire()

    def _patience(self) -> float:
        """Seconds until the next timer; -1 for ever."""
        return max(0.0, self._timers[0].due - time.monotonic()) if self._timers else -1

    def stop(self) -> None:
        """Leave :meth:`run` after the callbacks at hand."""
        self._stopped = True

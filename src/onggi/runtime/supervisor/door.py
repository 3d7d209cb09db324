"""What ``runc start`` does: let the program of a created container in, without starting runc.

The first process of a created container waits at a FIFO for somebody who reads; then it writes a
byte and executes its program. For runc a container is created as long as the FIFO is there.

Source: runc ``libcontainer/container_linux.go`` (exec, handleFifoResult), ``standard_init_linux.go``.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from onggi.runtime.supervisor.loop import READ, Loop

__all__ = ["open_door"]

_PATIENCE_S = 1.0
"""Seconds until the runtime is asked, who finds out what has become of the process."""


def open_door(loop: Loop, state_directory: str, done: Callable[[bool], None]) -> bool:
    """False when there is no door. ``done`` hears whether the program came in."""
    path = os.path.join(state_directory, "exec.fifo")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False

    def settle(events: int) -> None:
        timer.cancel()
        loop.unwatch(fd)
        came = bool(events) and _heard(fd)
        os.close(fd)
        if came:
            os.unlink(path)
        done(came)

    timer = loop.after(_PATIENCE_S, lambda: settle(0))
    loop.watch(fd, READ, settle)
    return True


def _heard(fd: int) -> bool:
    try:
        return bool(os.read(fd, 1))
    except OSError:
        return False

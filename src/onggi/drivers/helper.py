"""The helper process: a small warm interpreter that forks one worker a layer.

A library cannot promise to fork before its caller has threads, so the engine starts this
module in a process of its own (``python -I -S``, single-threaded) and asks it for workers
over a ``SOCK_SEQPACKET`` pair. A request is one JSON object with descriptors attached
(``SCM_RIGHTS``); the first descriptor is the worker's control socket, by which it reports
(worker.py). A fork of this process costs 1–2 ms; a new interpreter costs fifty.

The helper ends when the engine's end of the socket closes; its workers die with it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys

from onggi.drivers import worker
from onggi.linux.memory import keep_freed_memory
from onggi.linux.process import set_parent_death_signal

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]

# Seconds that a thread may keep the interpreter while others wait for it. Of a worker's threads one
# reads headers in Python, the others call C that lets go of it, for a millisecond each time: they
# must not stand in line for Python's usual five before every call.
_SWITCH_S = 0.0005
# Bytes of one request, and descriptors it may carry.
MAX_REQUEST_BYTES = 16 * 1024
MAX_DESCRIPTORS = 8


def main(fd: int, job: str = "") -> NoReturn:
    """Serve requests on descriptor ``fd`` until it is closed at the other end; never returns.

    ``job``: of which kind the first requests will be; what it needs is imported at once.
    """
    # Ctrl-C reaches the whole foreground group, SIGTERM a whole service; only the engine decides
    # what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sys.setswitchinterval(_SWITCH_S)
    keep_freed_memory()
    worker.preload(job)
    gc.collect()
    gc.freeze()
    requests = socket.socket(fileno=fd)
    while True:
        data, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, MAX_DESCRIPTORS)
        if not data:
            # Nothing is left to clean up, and the engine waits for this.
            os._exit(0)
        request = json.loads(data)
        worker.prepare(request)
        if os.fork() == 0:
            requests.close()
            _become_worker(request, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _become_worker(request: dict[str, object], descriptors: list[int]) -> None:
    """Never returns."""
    status = 1
    try:
        set_parent_death_signal(signal.SIGKILL)
        worker.run(request, descriptors)
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(int(sys.argv[1]))

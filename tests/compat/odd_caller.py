"""A caller that has changed all that a process hands down: ``python -m tests.compat.odd_caller WORD…``.

What a container's program is given must not depend on who said ``run``: with Docker it is the daemon's.
"""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["main"]

# Beyond those that a shell or Python use for themselves.
_DESCRIPTORS = range(20, 24)


def main(words: list[str]) -> None:
    """Become ``words`` with every signal ignored and blocked, descriptors open, and the like."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for number in _DESCRIPTORS:
        os.dup2(os.open("/etc/passwd", os.O_RDONLY), number)
    os.umask(0o077)
    os.nice(5)
    os.chdir("/var/tmp")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write("300")
    os.execvpe(words[0], words, {**os.environ, "LEAKED": "1"})


if __name__ == "__main__":
    main(sys.argv[1:])

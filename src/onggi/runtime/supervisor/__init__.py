"""The process that watches one container, from its start to its end.

It is executed (``python -I -S``), never forked from a caller, and imports the standard library
and this package only, so that it stays small: there is one for each running container.

::

    engine ── instructions, descriptors ──▶ main ─▶ Supervision
                                                     ├─ Loop        epoll, timers, ended children
                                                     ├─ Runtime     runs runc
                                                     ├─ Streams     pipes or pty ⇄ log, attached clients
                                                     ├─ Health      checks run in the container
                                                     ├─ State       config.v2.json, the event journal
                                                     └─ Control     the socket of the next command

What it promises: every byte that the container writes goes to the log before its end is told;
the exit code is on disk before anybody hears of it; while it lives it holds the lock
``supervisor-<id>`` (so who gets that lock knows it is gone) and the data root's own lock (so
no dockerd becomes a second master).
"""

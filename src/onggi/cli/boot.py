"""``onggi boot``."""

from __future__ import annotations

import os
import shutil
import sys

from onggi.cli.session import Session

__all__ = ["run"]


def run(session: Session) -> int:
    """Start containers that restart with the host, or (``--stop``) stop them before it goes down."""
    if session.flag("unit"):
        from onggi.engine.containers.boot import systemd_unit

        session.out.write(systemd_unit(_program()))
        return 0
    if session.flag("stop"):
        failed = session.engine.containers.shut_down()
    else:
        report = session.engine.containers.boot()
        failed = list(report.failed)
        session.out.write("".join(f"{id}\n" for id in report.started))
    for id, error in failed:
        session.err.write(f"container {id[:12]}: ")
        session.report(error)
    return int(bool(failed))


def _program() -> str:
    """How this program is called, without the help of a search path."""
    called = shutil.which(sys.argv[0]) if sys.argv[0] else None
    if called and os.path.basename(called) == "onggi":
        return os.path.abspath(called)
    return f"{sys.executable} -m onggi"

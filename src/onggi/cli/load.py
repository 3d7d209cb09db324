"""``onggi load``."""

from __future__ import annotations

import os
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.cli.progress import JSONProgress, progress_sink
from onggi.cli.session import Failure, Session
from onggi.errors import OnggiError
from onggi.progress import ProgressSink

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.transfer.load import Loaded

__all__ = ["run"]


def run(session: Session) -> int:
    """Load images from a file, a directory, or standard input."""
    from onggi.cli.background import run_watched

    kind = _progress_kind(session)
    source = _source(session)

    def verb(sink: ProgressSink, cancel: CancelToken) -> Loaded:
        return session.engine.images.load(
            source,
            platform=session.flag("platform"),
            all_platforms=session.flag("all-platforms"),
            progress=sink,
            cancel=cancel,
        )

    try:
        loaded = run_watched(verb, progress_sink(kind, session.out))
    except OnggiError as error:
        if kind == "json":
            document: dict[str, object] = {"errorDetail": {"message": str(error)}, "error": str(error)}
            JSONProgress(session.out).write(document)
        raise
    if kind == "json":
        for image in loaded.images:
            JSONProgress(session.out).write({"aux": {"ID": image.id}})
    return 0


def _source(session: Session) -> Any:
    name = session.flag("input")
    if name:
        return Path(name)
    if os.isatty(0):
        raise Failure("requested load from stdin, but stdin is empty")
    return open(0, "rb", buffering=0, closefd=False)


def _progress_kind(session: Session) -> str:
    if session.flag("json"):
        return "json"
    if session.flag("quiet") and not session.given("progress"):
        # Docker's -q leaves out the layers, not what was loaded.
        return "plain"
    return str(session.flag("progress"))

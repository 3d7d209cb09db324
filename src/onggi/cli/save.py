"""``onggi save``."""

from __future__ import annotations

from pathlib import Path

from onggi.cancel import CancelToken
from onggi.cli.output import Output
from onggi.cli.session import Failure, Session
from onggi.progress import ProgressSink, discard

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["run"]


class _Stream:
    """Standard output as the binary file that ``save`` writes to."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def write(self, data: bytes, /) -> int:
        """Take all of ``data``."""
        self._out.write_bytes(data)
        return len(data)

    def flush(self) -> None:
        """Hand it on."""
        self._out.flush()


def run(session: Session) -> int:
    """Save images to a file, or to standard output."""
    from onggi.cli.background import run_watched

    output = session.flag("output")
    if not output and session.out.is_terminal:
        raise Failure("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    out: Any = Path(output) if output else _Stream(session.out)

    def verb(sink: ProgressSink, cancel: CancelToken) -> None:
        session.engine.images.save(
            session.arguments,
            out,
            format=session.flag("format"),
            compression=session.flag("compression"),
            platform=session.flag("platform") or None,
            cancel=cancel,
        )

    run_watched(verb, discard)
    return 0

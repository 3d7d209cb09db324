"""``onggi import``."""

from __future__ import annotations

from pathlib import Path

from onggi.cancel import CancelToken
from onggi.cli.progress import progress_sink
from onggi.cli.session import Session
from onggi.progress import ProgressSink

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.image import Image

__all__ = ["run"]


def run(session: Session) -> int:
    """Import a tarball from a file, an address or standard input, and print the image's id."""
    from onggi.cli.background import run_watched

    source = _source(session.arguments[0])
    reference = session.arguments[1] if len(session.arguments) > 1 else None

    def verb(sink: ProgressSink, cancel: CancelToken) -> Image:
        return session.engine.images.import_(
            source,
            reference,
            changes=session.flag("change"),
            message=session.flag("message"),
            platform=session.flag("platform") or None,
            progress=sink,
            cancel=cancel,
        )

    image = run_watched(verb, progress_sink("plain", session.out))
    session.out.write(f"{image.id}\n")
    return 0


def _source(text: str) -> Any:
    if text == "-":
        return open(0, "rb", buffering=0, closefd=False)
    return text if text.startswith(("http://", "https://")) else Path(text)

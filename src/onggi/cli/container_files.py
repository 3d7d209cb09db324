"""``onggi diff``, ``onggi export`` and ``onggi commit``."""

from __future__ import annotations

from pathlib import Path

from onggi.cancel import CancelToken
from onggi.cli.listing import Listing
from onggi.cli.long_listing import json_name
from onggi.cli.session import Failure, Session

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.engine.image import Image
    from onggi.progress import ProgressSink
    from onggi.tree.differences import Change

__all__ = ["run_commit", "run_diff", "run_export"]


def run_diff(session: Session) -> int:
    """What a container changed, a line each."""
    changes = session.engine.containers.get(session.arguments[0]).diff()
    format = session.flag("format")
    if session.flag("json"):
        from onggi.cli.layer import write_json_array

        write_json_array(session, map(_json, changes))
    elif format in ("", "raw"):
        for change in changes:
            session.out.write(f"{change.kind} /{_name(change)}\n")
    else:
        session.out.write(_LISTING.render(changes, format))
    return 0


def _name(change: Change) -> str:
    return change.path.decode("utf-8", "surrogateescape")


def _json(change: Change) -> dict[str, object]:
    return {"Kind": change.kind, "Path": "/" + json_name(change.path), "Size": change.size}


_LISTING = Listing(
    "*formatter.diffContext",
    {
        "Type": ("CHANGE TYPE", lambda change: change.kind),
        "Path": ("PATH", lambda change: "/" + _name(change)),
        "Size": ("SIZE", lambda change: str(change.size)),
    },
    ("Type", "Path"),
    hidden=("Size",),
)


def run_export(session: Session) -> int:
    """All files of a container as a tar archive."""
    output = session.flag("output")
    if not output and session.out.is_terminal:
        raise Failure("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    pieces = session.engine.containers.get(session.arguments[0]).export()
    if not output:
        for piece in pieces:
            session.out.write_bytes(piece)
        return 0
    from onggi.engine.output_file import whole_file

    with whole_file(Path(output), "export container") as file:
        for piece in pieces:
            file.write(piece)
    return 0


def run_commit(session: Session) -> int:
    """An image of what a container is now; its id is printed."""
    from onggi.cli.background import run_watched
    from onggi.progress import discard

    container = session.engine.containers.get(session.arguments[0])

    def verb(sink: ProgressSink, cancel: CancelToken) -> Image:
        return container.commit(
            session.arguments[1] if len(session.arguments) > 1 else "",
            author=session.flag("author"),
            message=session.flag("message"),
            changes=session.flag("change"),
            pause=session.flag("pause"),
            cancel=cancel,
        )

    session.out.write(f"{run_watched(verb, discard).id}\n")
    return 0

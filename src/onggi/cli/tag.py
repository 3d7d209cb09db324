"""``onggi tag``."""

from __future__ import annotations

from onggi.cli.session import Failure, Session
from onggi.errors import InvalidArgument
from onggi.oci.reference import Reference

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.store.tag_journal import TagChange

__all__ = ["run"]

_COLUMNS = ("When", "ID", "Digest", "By")
_NONE = "<none>"


def run(session: Session) -> int:
    """Give an image one more name; or tell of a name what it meant, or roll it back."""
    if session.flag("history") and session.flag("rollback"):
        raise Failure("conflicting options: --history and --rollback")
    if session.flag("history"):
        return _history(session, session.arguments[0])
    if session.flag("rollback"):
        return _rollback(session, session.arguments[0])
    source, target = session.arguments
    try:
        Reference.parse(target)
    except InvalidArgument as error:
        # Docker's client checks the new name itself, and says so in its own words.
        raise Failure(f'Error parsing reference: "{target}" is not a valid repository/tag: {error}') from None
    session.engine.images.tag(source, target)
    return 0


def _rollback(session: Session, name: str) -> int:
    image = session.engine.images.rollback(name)
    session.out.write(f"{image.id}\n")
    return 0


def _history(session: Session, name: str) -> int:
    changes = session.engine.images.tag_history(name)
    if session.flag("json"):
        session.write_json([_json(change) for change in changes])
        return 0
    session.out.write(_text(session, changes))
    return 0


def _text(session: Session, changes: list[TagChange]) -> str:
    from onggi.cli.listing import Listing
    from onggi.cli.units import ago, short_id

    cut = str if session.flag("no-trunc") else short_id

    def when(change: TagChange) -> str:
        return ago(None if change.time_ns is None else change.time_ns / 1e9)

    listing = Listing(
        "*formatter.tagHistoryContext",
        {
            "When": ("WHEN", when),
            "At": ("AT", lambda change: _time(change) or ""),
            "ID": ("IMAGE ID", lambda change: cut(change.after) if change.after else _NONE),
            "Before": ("BEFORE", lambda change: cut(change.before) if change.before else _NONE),
            "Digest": ("DIGEST", lambda change: change.digest or _NONE),
            "By": ("BY", lambda change: change.by),
            "Name": ("NAME", lambda change: change.name),
        },
        _COLUMNS,
    )
    return listing.render(changes, session.flag("format"))


def _time(change: TagChange) -> str | None:
    from onggi.oci.timestamps import format_ns

    return None if change.time_ns is None else format_ns(change.time_ns)


def _json(change: TagChange) -> dict[str, Any]:
    return {
        "Name": change.name,
        "Time": _time(change),
        "Before": change.before,
        "ID": change.after,
        "Digest": change.digest,
        "By": change.by,
    }

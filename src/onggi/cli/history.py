"""``onggi history``."""

from __future__ import annotations

from onggi.cli.listing import Listing
from onggi.cli.session import Session
from onggi.cli.units import NO_DATE, ago, ellipsis, rfc3339, short_id, table_size

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.image import HistoryRow

__all__ = ["run"]

# Columns of CREATED BY before it is cut.
_CREATED_BY_WIDTH = 45
# Seconds since 1970 of 2000-01-01: what is dated earlier was dated by a reproducible build.
_EPOCH = 946684800


def run(session: Session) -> int:
    """Show how an image was made, newest row first."""
    rows = session.engine.images.get(session.arguments[0]).history()
    if session.flag("json"):
        session.write_json([_json(row) for row in rows])
        return 0
    human, short = session.flag("human"), not session.flag("no-trunc")
    format = session.flag("format")
    if session.flag("quiet") and format in ("", "table"):
        session.out.write("".join(_id(row, short) + "\n" for row in rows))
        return 0
    session.out.write(_listing(human, short).render(rows, format))
    return 0


def _listing(human: bool, short: bool) -> Listing:
    return Listing(
        "*formatter.historyContext",
        {
            "ID": ("IMAGE", lambda row: _id(row, short)),
            "CreatedSince": ("CREATED", lambda row: _dated(row, ago)),
            "CreatedAt": ("CREATED AT", lambda row: _dated(row, rfc3339)),
            "CreatedBy": ("CREATED BY", lambda row: _created_by(row, short)),
            "Size": ("SIZE", lambda row: table_size(row.size) if human else str(row.size)),
            "Comment": ("COMMENT", lambda row: row.comment),
        },
        ("ID", "CreatedSince" if human else "CreatedAt", "CreatedBy", "Size", "Comment"),
    )


def _id(row: HistoryRow, short: bool) -> str:
    return short_id(row.id) if short else row.id


def _dated(row: HistoryRow, show: Any) -> str:
    moment = row.created_at
    return NO_DATE if moment is None or moment <= _EPOCH else str(show(moment))


def _created_by(row: HistoryRow, short: bool) -> str:
    text = row.created_by.replace("\t", " ")
    return ellipsis(text, _CREATED_BY_WIDTH) if short else text


def _json(row: HistoryRow) -> dict[str, Any]:
    """Docker's history item, and the layer the row made (null for rows that made none)."""
    return {
        "Id": row.id,
        "Created": row.created,
        "CreatedBy": row.created_by,
        "Size": row.size,
        "Comment": row.comment,
        "Tags": row.tags,
        "DiffID": row.diff_id,
        "ChainID": row.chain_id,
        "CacheID": row.cache_id,
        "Blobs": list(row.blob_digests),
    }

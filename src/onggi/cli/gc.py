"""``onggi gc``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onggi.cli.listing import Listing
from onggi.cli.session import Session
from onggi.cli.units import ellipsis, human_size

if TYPE_CHECKING:
    from onggi.engine.gc import GcItem, GcReport

__all__ = ["leftover_lines", "run"]

_COLUMNS = ("Verdict", "Kind", "Name", "Size", "Reason")
# Columns of a name in the table; names of temporary files are paths.
_NAME_WIDTH = 40


def run(session: Session) -> int:
    """Collect, or with ``--dry-run`` only look; ``--explain`` makes it a table of everything."""
    explain = session.flag("explain")
    report = session.engine.gc(explain=explain, dry_run=session.flag("dry-run"))
    if session.flag("json"):
        session.write_json(_json(report))
    elif explain or session.flag("format"):
        listing = _listing(short=not session.flag("no-trunc"))
        session.out.write(listing.render(report.items, session.flag("format")))
        if not session.flag("format"):
            session.out.write("\n" + _total(report))
    else:
        session.out.write(_text(report))
    return 0


def _text(report: GcReport) -> str:
    lines = leftover_lines(report)
    head = "Would delete:\n" if report.dry_run else "Deleted leftovers:\n"
    parts = [head + "".join(lines) + "\n"] if lines else []
    busy = [f"{item.kind} {item.name}: {item.reason}\n" for item in report.items if item.verdict == "busy"]
    if busy:
        parts.append("In use, left alone:\n" + "".join(busy) + "\n")
    return "".join(parts) + _total(report)


def leftover_lines(report: GcReport) -> list[str]:
    """One line a thing that went; files of no size are not worth one."""
    return [
        f"{item.kind} {item.name}: {item.reason} ({human_size(item.size_bytes)})\n"
        for item in report.removed
        if item.size_bytes
    ]


def _total(report: GcReport) -> str:
    what = "reclaimable" if report.dry_run else "reclaimed"
    return f"Total {what} space: {human_size(report.reclaimed_bytes)}\n"


def _listing(*, short: bool) -> Listing:
    def name(item: GcItem) -> str:
        return ellipsis(item.name, _NAME_WIDTH) if short else item.name

    return Listing(
        "*formatter.gcContext",
        {
            "Verdict": ("VERDICT", lambda item: item.verdict),
            "Kind": ("KIND", lambda item: item.kind),
            "Name": ("NAME", name),
            "Size": ("SIZE", lambda item: human_size(item.size_bytes)),
            "Reason": ("REASON", lambda item: item.reason),
            "Path": ("PATH", lambda item: item.path),
        },
        _COLUMNS,
    )


def _json(report: GcReport) -> dict[str, Any]:
    return {
        "DryRun": report.dry_run,
        "SpaceReclaimed": report.reclaimed_bytes,
        "Items": [
            {
                "Verdict": item.verdict,
                "Kind": item.kind,
                "Name": item.name,
                "Size": item.size_bytes,
                "Reason": item.reason,
                "Path": item.path,
            }
            for item in report.items
        ],
    }

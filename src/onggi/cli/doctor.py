"""``onggi doctor``: is the host fit, is the data root sound, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onggi.cli.listing import Listing
from onggi.cli.session import Session

if TYPE_CHECKING:
    from onggi.engine.doctor import Finding

__all__ = ["run"]

_MARKS = {"ok": "✓", "warn": "!", "fail": "✗"}


def run(session: Session) -> int:
    """Print the findings; status 1 when something fails."""
    findings = session.engine.system.doctor()
    format = session.flag("format")
    if session.flag("json"):
        session.write_json(
            [
                {"Level": each.level, "Subject": each.subject, "Message": each.message, "Hint": each.hint}
                for each in findings
            ]
        )
    elif format:
        session.out.write(_LISTING.render(findings, format))
    else:
        session.out.write(_text(findings))
    return int(any(finding.level == "fail" for finding in findings))


def _text(findings: list[Finding]) -> str:
    width = max((len(finding.subject) for finding in findings), default=0)
    return "".join(_line(finding, width) for finding in findings)


def _line(finding: Finding, width: int) -> str:
    hint = f" ({finding.hint})" if finding.hint else ""
    return f"{_MARKS[finding.level]} {finding.subject:<{width}}  {finding.message}{hint}\n"


_LISTING = Listing(
    "*formatter.findingContext",
    {
        "Level": ("LEVEL", lambda finding: finding.level),
        "Subject": ("SUBJECT", lambda finding: finding.subject),
        "Message": ("MESSAGE", lambda finding: finding.message),
        "Hint": ("HINT", lambda finding: finding.hint),
    },
    ("Level", "Subject", "Message", "Hint"),
)

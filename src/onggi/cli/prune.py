"""``onggi system prune``."""

from __future__ import annotations

import re

from onggi.cli.gc import leftover_lines
from onggi.cli.session import Session
from onggi.cli.units import human_size
from onggi.errors import InvalidArgument

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.engine.prune import SystemPruneReport

__all__ = ["run"]

_DAY_S = 86400.0


def run(session: Session) -> int:
    """Remove unused data, after Docker's question unless ``--force``."""
    keep_bytes = session.flag("keep-bytes") or None
    until_s = _seconds(session.flag("until")) if session.given("until") else None
    if not session.flag("force") and not session.confirm(_warning(session, keep_bytes, until_s)):
        return 0
    report = session.engine.system.prune(
        keep_bytes=keep_bytes,
        until_s=until_s,
        all=session.flag("all"),
        volumes=session.flag("volumes"),
        filters=session.filters,
    )
    if session.flag("json"):
        _write_json(session, report)
    else:
        session.out.write(_text(report))
    if keep_bytes is not None and report.size_bytes > keep_bytes:
        session.out.flush()
        session.err.write(
            f"Warning: {session.engine.config.data_root} still takes {human_size(report.size_bytes)}: "
            "what is left is pinned, in use, or no image (onggi system df -v)\n"
        )
    return 0


def _warning(session: Session, keep_bytes: int | None, until_s: float | None) -> str:
    """Docker's text; only what will be removed here."""
    lines = ["WARNING! This will remove:"]
    if until_s is None and keep_bytes is None:
        lines.append("  - all networks not used by at least one container")
        if session.flag("volumes"):
            kind = "" if session.engine.config.compat == "20.10" else "anonymous "
            lines.append(f"  - all {kind}volumes not used by at least one container")
    if until_s is not None:
        lines.append(f"  - all images that were not used for {session.flag('until')}")
    if keep_bytes is not None:
        lines.append(f"  - least recently used images, until {human_size(keep_bytes)} are left")
    if until_s is None and keep_bytes is None:
        unused = "all images without at least one container associated to them"
        lines.append(f"  - {unused if session.flag('all') else 'all dangling images'}")
    lines.append("  - layers, directories and files that nothing refers to")
    if session.flag("filter"):
        lines += ["", "  Items to be pruned will be filtered with:"]
        lines += [f"  - {pair}" for pair in session.flag("filter")]
    return "\n".join(lines) + "\n"


def _seconds(text: str) -> float:
    """A Go duration, or days: ``24h``, ``30d``."""
    from onggi.oci.timestamps import parse_duration_ns

    days = re.fullmatch(r"([0-9]{1,6})d", text)
    ns = parse_duration_ns(text) if days is None else None
    seconds = float(days[1]) * _DAY_S if days else (ns or 0) / 1e9
    if seconds <= 0:
        raise InvalidArgument(f"invalid duration '{text}' for --until", hint="e.g. 90m, 24h or 30d")
    return seconds


def _text(report: SystemPruneReport) -> str:
    parts = []
    if report.networks:
        parts.append("Deleted Networks:\n" + "".join(f"{name}\n" for name in report.networks) + "\n")
    if report.volumes:
        parts.append("Deleted Volumes:\n" + "".join(f"{name}\n" for name in report.volumes) + "\n")
    lines = [
        f"untagged: {effect.untagged}\n" if effect.untagged is not None else f"deleted: {effect.deleted}\n"
        for effect in report.removed
    ]
    if lines:
        parts.append("Deleted Images:\n" + "".join(lines) + "\n")
    leftovers = leftover_lines(report.leftovers)
    if leftovers:
        parts.append("Deleted leftovers:\n" + "".join(leftovers) + "\n")
    return "".join(parts) + f"Total reclaimed space: {human_size(report.space_reclaimed_bytes)}\n"


def _write_json(session: Session, report: SystemPruneReport) -> None:
    session.write_json(
        {
            "NetworksDeleted": report.networks,
            "VolumesDeleted": list(report.volumes),
            "ImagesDeleted": [
                {"Untagged": effect.untagged} if effect.untagged is not None else {"Deleted": effect.deleted}
                for effect in report.removed
            ],
            "LeftoversDeleted": [
                {"Kind": item.kind, "Name": item.name, "Size": item.size_bytes, "Reason": item.reason}
                for item in report.leftovers.removed
            ],
            "SpaceReclaimed": report.space_reclaimed_bytes,
            "Size": report.size_bytes,
        }
    )

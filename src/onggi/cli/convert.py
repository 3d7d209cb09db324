"""``onggi storage convert``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onggi.cancel import CancelToken
from onggi.cli.progress import progress_sink
from onggi.cli.session import Session
from onggi.cli.units import human_size
from onggi.errors import Cancelled, InvalidArgument
from onggi.progress import ProgressSink

if TYPE_CHECKING:
    from onggi.engine.conversion import ConversionReport

__all__ = ["run"]


class ConversionStopped(Cancelled):
    """Ctrl-C during a conversion."""

    def __init__(self) -> None:
        super().__init__(
            "convert storage: stopped",
            hint="the data root is as it was; the same command goes on from there",
        )


def run(session: Session) -> int:
    """Convert, or with ``--dry-run`` only tell what it takes."""
    from onggi.cli.background import run_watched

    to = session.flag("to")
    if not to:
        raise InvalidArgument("convert storage: --to is missing", hint="--to erofs, or --to overlay2")
    kind = "quiet" if session.flag("json") or session.flag("quiet") else "plain"

    def verb(sink: ProgressSink, cancel: CancelToken) -> ConversionReport:
        return session.engine.convert_storage(
            str(to),
            keep=bool(session.flag("keep")),
            dry_run=bool(session.flag("dry-run")),
            progress=sink,
            cancel=cancel,
        )

    try:
        report = run_watched(verb, progress_sink(kind, session.out))
    except KeyboardInterrupt:
        raise ConversionStopped from None
    if session.flag("json"):
        session.write_json(_json(report))
    elif not session.flag("quiet"):
        lines = _lines(report)
        wanted = session.engine.config.storage_driver
        if wanted not in ("", "auto", report.to) and not report.dry_run:
            lines.append(f"Your settings say storage-driver {wanted}: change that to {report.to}")
        session.out.write("".join(f"{line}\n" for line in lines))
    return 0


def _lines(report: ConversionReport) -> list[str]:
    gone = ", ".join(report.removed)
    if report.source == report.to:
        if not gone:
            return [f"The data root is {report.to}'s: nothing to convert"]
        return [f"{'Would remove' if report.dry_run else 'Removed'} what is left of {gone}"]
    what = f"{report.images} images, {report.layers} layers ({human_size(report.size_bytes)})"
    if report.already:
        what += f", {report.already} layers were converted before"
    if report.dry_run:
        lines = [f"Would convert {what} from {report.source} to {report.to}"]
        lines.append(f"Space: about {human_size(report.size_bytes)} of {human_size(report.free_bytes)} free")
        lines += [f"Would then remove the data of {gone}"] if gone else []
        return lines + [
            f"Would be refused: {each.who} stands on its files ({each.hint})" for each in report.refusals
        ]
    lines = [f"Converted {what} from {report.source} to {report.to}"]
    return lines + ([f"Removed the data of {gone}"] if gone else [f"Kept the data of {report.source}"])


def _json(report: ConversionReport) -> dict[str, Any]:
    return {
        "From": report.source,
        "To": report.to,
        "Images": report.images,
        "Layers": report.layers,
        "AlreadyConverted": report.already,
        "SizeBytes": report.size_bytes,
        "FreeBytes": report.free_bytes,
        "Removed": list(report.removed),
        "DryRun": report.dry_run,
        "Refusals": [each.message for each in report.refusals],
    }

"""``onggi repair``: put right what ``verify`` finds."""

from __future__ import annotations

from onggi.cancel import CancelToken
from onggi.cli.progress import progress_sink
from onggi.cli.session import Session
from onggi.cli.verify import finding_json
from onggi.errors import Cancelled
from onggi.progress import ProgressSink

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.repair import RepairReport

__all__ = ["run"]


class RepairStopped(Cancelled):
    """Ctrl-C during a repair."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"repair {name}: stopped",
            hint="what was received is kept; the same command goes on from there",
        )


def run(session: Session) -> int:
    """Repair one image and say what was done; status 0 when it is sound in the end."""
    from onggi.cli.background import run_watched

    name = session.arguments[0]
    silent = session.flag("json") or session.flag("quiet")
    kind = "quiet" if silent else str(session.flag("progress"))

    def verb(sink: ProgressSink, cancel: CancelToken) -> RepairReport:
        return session.engine.images.repair(name, force=session.flag("force"), progress=sink, cancel=cancel)

    try:
        report = run_watched(verb, progress_sink(kind, session.out))
    except KeyboardInterrupt:
        raise RepairStopped(name) from None
    if session.flag("json"):
        session.write_json(_json(report))
    elif not session.flag("quiet"):
        lines = report.lines() or [f"{report.name}: nothing to repair"]
        session.out.write("".join(f"{line}\n" for line in lines))
    return 0


def _json(report: RepairReport) -> dict[str, Any]:
    return {
        "Image": report.name,
        "ImageID": report.image_id,
        "Findings": [finding_json(finding) for finding in report.findings],
        "ConfigFetched": report.config_fetched,
        "Stale": list(report.stale),
        "Layers": [
            {
                "Layer": layer.layer,
                "ChainID": layer.chain_id,
                "CacheID": layer.cache_id or "",
                "Fetched": layer.fetched,
                "Files": list(layer.files),
            }
            for layer in report.layers
        ],
    }

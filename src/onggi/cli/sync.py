"""``onggi sync``: images from one data root to another, and ``sync-serve``, its other end."""

from __future__ import annotations

import sys

from onggi.cancel import CancelToken
from onggi.cli.columns import table
from onggi.cli.progress import progress_sink
from onggi.cli.session import Session
from onggi.cli.units import human_size, short_id
from onggi.errors import Cancelled
from onggi.progress import ProgressSink, discard

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.transfer.sync import Synced

__all__ = ["run", "run_serve"]


class SyncStopped(Cancelled):
    """Ctrl-C during a sync."""

    def __init__(self, source: str, target: str) -> None:
        super().__init__(
            f"sync {source} {target}: stopped",
            hint="layers that were complete are kept; the same command goes on from there",
        )


def run(session: Session) -> int:
    """Bring images from the first place to the second."""
    source, target, *names = session.arguments
    try:
        synced = _sync(session, source, target, names)
    except KeyboardInterrupt:
        raise SyncStopped(source, target) from None
    if session.flag("json"):
        from onggi.transfer.sync_channel import report_document

        session.write_json(report_document(synced))
    elif session.flag("dry-run"):
        session.out.write(_plan(synced))
    elif not session.flag("quiet"):
        session.out.write("".join(_line(item) for item in synced))
    return 0


def _sync(session: Session, source: str, target: str, names: list[str]) -> list[Synced]:
    from onggi.cli.background import run_watched
    from onggi.config import Config
    from onggi.engine.sync import sync

    config = Config.load(session.settings)

    def verb(sink: ProgressSink, cancel: CancelToken) -> list[Synced]:
        return sync(
            config,
            source,
            target,
            names,
            dry_run=session.flag("dry-run"),
            program=session.flag("remote-program"),
            progress=sink,
            cancel=cancel,
        )

    quiet = session.flag("quiet") or session.flag("json") or session.flag("dry-run")
    return run_watched(verb, discard if quiet else progress_sink(session.flag("progress"), session.out))


def _name(item: Synced) -> str:
    return ", ".join(name for name in item.names if "@" not in name) or short_id(item.image_id)


def _line(item: Synced) -> str:
    if not item.missing:
        return f"{_name(item)}: {'named' if item.new else 'up to date'}\n"
    count = f"{len(item.missing)} of {item.layers} layers"
    return f"{_name(item)}: {count}, {human_size(item.missing_bytes)}\n"


def _plan(synced: list[Synced]) -> str:
    rows = [
        (
            _name(item),
            short_id(item.image_id),
            str(item.layers),
            str(len(item.missing)),
            human_size(item.missing_bytes),
        )
        for item in synced
    ]
    total = human_size(sum(item.missing_bytes for item in synced))
    return table(("IMAGE", "IMAGE ID", "LAYERS", "MISSING", "SIZE"), rows) + f"\nTo copy: {total}\n"


def run_serve(session: Session) -> int:
    """Speak the sync protocol on the standard streams."""
    from onggi.config import Config
    from onggi.engine.sync import serve

    serve(Config.load(session.settings), sys.stdin.buffer, sys.stdout.buffer)
    return 0

"""``onggi image mount`` and ``unmount``."""

from __future__ import annotations

from onggi.cli.listing import Listing
from onggi.cli.session import Failure, Session
from onggi.cli.units import ago, short_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.mounts import MountRecord

__all__ = ["run", "run_unmount"]

_COLUMNS = ("ID", "Image", "Reference", "Mounted", "Path")


def run(session: Session) -> int:
    """Mount an image and print the directory; without arguments list what is mounted."""
    if not session.arguments:
        return _list(session)
    target = session.arguments[1] if len(session.arguments) > 1 else None
    record = session.engine.mounts.mount(session.arguments[0], target)
    if session.flag("json"):
        session.write_json(_json(record))
    else:
        session.out.write(record.path + "\n")
    return 0


def _list(session: Session) -> int:
    records = session.engine.mounts.list()
    if session.flag("json"):
        session.write_json([_json(record) for record in records])
    else:
        listing = _listing(short=not session.flag("no-trunc"))
        session.out.write(listing.render(records, session.flag("format")))
    return 0


def run_unmount(session: Session) -> int:
    """Unmount by directory, mount id or image; ``--all`` everything."""
    mounts = session.engine.mounts
    if not session.arguments and not session.flag("all"):
        raise Failure("onggi: 'onggi image unmount' requires at least 1 argument, or --all")
    names = [record.id for record in mounts.list()] if session.flag("all") else session.arguments
    for name in names:
        for record in mounts.unmount(name):
            session.out.write(record.path + "\n")
    return 0


def _listing(*, short: bool) -> Listing:
    cut = short_id if short else str
    return Listing(
        "*formatter.mountContext",
        {
            "ID": ("MOUNT ID", lambda record: record.id),
            "Image": ("IMAGE ID", lambda record: cut(record.image_id)),
            "Reference": ("IMAGE", lambda record: record.reference),
            "Mounted": ("MOUNTED", lambda record: ago(record.mounted_at)),
            "Path": ("DIRECTORY", lambda record: record.path),
        },
        _COLUMNS,
    )


def _json(record: MountRecord) -> dict[str, Any]:
    return {
        "ID": record.id,
        "ImageID": record.image_id,
        "Reference": record.reference,
        "Directory": record.path,
    }

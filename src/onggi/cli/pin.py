"""``onggi image pin`` and ``unpin``."""

from __future__ import annotations

from onggi.cli.images import image_json, image_listing, rows_of
from onggi.cli.session import Session

__all__ = ["run", "run_unpin"]

_COLUMNS = ("Repository", "Tag", "ID", "LastUsed", "Size")


def run(session: Session) -> int:
    """Pin images and print their names; without arguments list what is pinned."""
    if session.arguments:
        for name in session.arguments:
            session.engine.images.pin(name)
            session.out.write(f"Pinned: {name}\n")
        return 0
    images = [image for image in session.engine.images.list(all=True) if image.pinned]
    if session.flag("json"):
        session.write_json([image_json(image) for image in images])
    else:
        listing = image_listing(short=not session.flag("no-trunc"))
        session.out.write(listing.render(rows_of(images), session.flag("format"), _COLUMNS))
    return 0


def run_unpin(session: Session) -> int:
    """Take pins away; an image without one is no error."""
    for name in session.arguments:
        session.engine.images.unpin(name)
        session.out.write(f"Unpinned: {name}\n")
    return 0

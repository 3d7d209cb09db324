"""``onggi tag``."""

from __future__ import annotations

from onggi.cli.session import Failure, Session
from onggi.errors import InvalidArgument
from onggi.oci.reference import Reference

__all__ = ["run"]


def run(session: Session) -> int:
    """Give an image one more name."""
    source, target = session.arguments
    try:
        Reference.parse(target)
    except InvalidArgument as error:
        # Docker's client checks the new name itself, and says so in its own words.
        raise Failure(f'Error parsing reference: "{target}" is not a valid repository/tag: {error}') from None
    session.engine.images.tag(source, target)
    return 0

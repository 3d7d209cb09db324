"""What the store must know of containers: who stands on which image.

Containers are kept in Docker's files (``containers/<id>/config.v2.json``), whoever made
them; they are only read here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from onggi.oci.digest import ImageID
from onggi.record import record
from onggi.store.atomic import read_optional
from onggi.store.layout import Layout

__all__ = ["KnownContainer", "known_containers", "unwritten_containers"]

_HEX = frozenset("0123456789abcdef")


@record
class KnownContainer:
    """A container of this data root, running or not."""

    id: str
    image_id: ImageID
    running: bool

    @property
    def short_id(self) -> str:
        """Docker's 12 digits."""
        return self.id[:12]


def known_containers(layout: Layout) -> Iterator[KnownContainer]:
    """Every container whose config can be read, sorted by id."""
    directory = layout.root / "containers"
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return
    for name in names:
        data = read_optional(directory / name / "config.v2.json")
        try:
            document = json.loads(data or b"")
            state = document["State"]
            yield KnownContainer(document["ID"], ImageID(document["Image"]), bool(state["Running"]))
        except (ValueError, KeyError, TypeError):
            continue


def unwritten_containers(layout: Layout) -> list[str]:
    """Ids with layers and without files: being made, or their maker was killed."""
    try:
        names = os.listdir(layout.layerdb / "mounts")
    except FileNotFoundError:
        return []
    try:
        written = os.listdir(layout.root / "containers")
    except FileNotFoundError:
        written = []
    # Docker's build steps have other names.
    return [id for id in set(names).difference(written) if len(id) == 64 and _HEX.issuperset(id)]

"""Every kind of thing in a data root, with what is to become of it: the sweep phase of ``gc``.

Each sweeper yields what it finds. What is to go has a ``remove`` that looks again under the
thing's own lease and leaves it to whoever holds that: a process may have begun to use the
thing since it was marked. Trees are renamed aside before they are deleted
(:mod:`store.trash`, :meth:`LayerStore.release`), so a kill leaves nothing by halves.
"""

from __future__ import annotations

from collections.abc import Iterator

from onggi.engine.core import Core
from onggi.engine.gc import Found
from onggi.engine.marks import Marks
from onggi.engine.sweep_files import blobs, conversions, distribution, locks, mounts, notes, temporary_files
from onggi.engine.sweep_layers import (
    directories,
    image_metadata,
    images,
    layerdb_rest,
    layers,
    links,
    orphan_mounts,
    staging,
)
from onggi.engine.sweep_volumes import volumes

__all__ = ["everything"]


def everything(core: Core, marks: Marks) -> Iterator[Found]:
    """Every thing; in an order in which what one removal sets free is found later."""
    yield from mounts(core)
    yield from images(core, marks)
    yield from image_metadata(core)
    yield from orphan_mounts(core, marks)
    yield from layers(core, marks)
    yield from layerdb_rest(core)
    yield from staging(core)
    yield from directories(core, marks)
    yield from links(core, marks)
    yield from conversions(core)
    yield from distribution(core)
    yield from blobs(core)
    yield from temporary_files(core)
    yield from notes(core)
    yield from locks(core)
    yield from volumes(core)

"""Layers of the erofs driver, made of an archive and looked at as files."""

from __future__ import annotations

import os

from onggi.store.layerdb import LayerRecord
from tests.drivers.test_contract import Rig

__all__ = ["add", "kept"]


def add(rig: Rig, data: bytes, parent: LayerRecord | None = None) -> LayerRecord:
    """The layer of an archive, committed."""
    return rig.store.commit([rig.unpack(data, parent)])[0]


def kept(rig: Rig, record: LayerRecord) -> set[str]:
    """Names of what the driver keeps of it."""
    return set(os.listdir(rig.driver.path(record.cache_id)))

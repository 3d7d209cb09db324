"""Which layers somebody has mounted: images by hand, and containers that run."""

from __future__ import annotations

from onggi.engine.containers import known_containers
from onggi.engine.core import Core
from onggi.engine.mount_records import MountRecords
from onggi.oci.digest import CacheID
from onggi.store.layerdb import CorruptLayer

__all__ = ["mounted_layers"]


def mounted_layers(core: Core) -> set[CacheID]:
    """The uppermost layer of the image in every stack that is mounted, or just being so."""
    records = MountRecords(core.layout.mounts)
    mounted = {CacheID(record.cache_id) for record in records if record.cache_id}
    running = {container.id for container in known_containers(core.layout) if container.running}
    for name, chain in core.layers.db.containers().items():
        # A container's own are named after it, those of images mounted in it <container>-….
        if name.partition("-")[0] in running:
            try:
                layer = core.layers.get(chain)
            except CorruptLayer:
                continue
            if layer is not None:
                mounted.add(layer.cache_id)
    return mounted

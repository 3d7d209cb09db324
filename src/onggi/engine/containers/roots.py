"""A container's files, whether it runs or not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from onggi.engine.containers.names import ContainerNotFound
from onggi.engine.containers.running import is_running, supervisor_lock
from onggi.engine.containers.stopped_mounts import stopped_root
from onggi.engine.core import Core
from onggi.layers.writable import NoWritableLayer, WritableLayer
from onggi.oci.digest import CacheID
from onggi.runtime.client import NoSupervisor, SupervisorClient
from onggi.store.containers import StoredContainer
from onggi.store.layerdb import CorruptLayer
from onggi.store.locks import Lease

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.tree.layer_tree import LayerTree
    from onggi.tree.merged import Merged

__all__ = ["bare_root", "changed_layers", "mounted_root", "wait_for_root"]

_POLL_S = 0.05


@contextmanager
def bare_root(core: Core, stored: StoredContainer) -> Iterator[int]:
    """A descriptor of its root directory as its layers make it, without what is mounted in it.

    While the block lasts, a container that does not run is not started by others. Raises DataLoss.
    """
    with core.writing(), ExitStack() as held:
        lease, running = wait_for_root(core, stored, bare=True)
        if lease is not None:
            held.enter_context(lease)
        root = core.writable.mount(core.writable.get(stored.id)) if running is None else running
        held.callback(os.close, root)
        yield root


@contextmanager
def mounted_root(core: Core, stored: StoredContainer) -> Iterator[int]:
    """A descriptor (O_PATH) of its root directory as the container sees it: volumes, files of the host.

    Of one that does not run the mounts are made in a namespace that ends with the block; nobody
    starts it meanwhile. Raises DataLoss, MountError.
    """
    with core.writing(), ExitStack() as held:
        lease, running = wait_for_root(core, stored, bare=False)
        if running is not None:
            held.callback(os.close, running)
            yield running
            return
        assert lease is not None
        held.enter_context(lease)
        yield stopped_root(core, stored, held)


def wait_for_root(core: Core, stored: StoredContainer, *, bare: bool) -> tuple[Lease | None, int | None]:
    """The root of a container that runs, or a lease that keeps it from being started; the caller's own.

    Inside :meth:`Core.writing`. Waits while it is starting, ending or being removed.
    """
    while True:
        if is_running(core, stored):
            try:
                return None, SupervisorClient(core.config.exec_root, stored.id).rootfs(bare=bare)
            except NoSupervisor:
                pass  # it is ending
        lease = core.locks.try_acquire(supervisor_lock(stored.id), exclusive=True)
        if lease is not None:
            return lease, None
        time.sleep(_POLL_S)
        current = core.containers.get(stored.id)
        if current is None:
            raise ContainerNotFound(stored.id)
        stored = current


@contextmanager
def changed_layers(core: Core, stored: StoredContainer) -> Iterator[tuple[LayerTree, Merged]]:
    """What the container changed, and the view it stands on, the places for mounts included.

    The container itself keeps its layers from being removed. Raises DataLoss.
    """
    from onggi.tree.layer_tree import OpenLayers
    from onggi.tree.merged import Merged

    layer = core.writable.get(stored.id)
    with OpenLayers() as layers:
        try:
            upper = layers.directories([core.writable.upper(layer)])[0]
            below = [layers.add(core.driver.tree(each, layers.kept)) for each in _below(core, layer)]
        except FileNotFoundError as error:
            raise NoWritableLayer(Path(os.fsdecode(error.filename))) from error
        yield upper, Merged(below)


def _below(core: Core, layer: WritableLayer) -> Iterator[CacheID]:
    """The driver's layers below that of the container, uppermost first."""
    yield layer.init_id
    chain = layer.parent
    while chain is not None:
        found = core.layers.get(chain)
        if found is None:
            raise CorruptLayer(core.layers.db.path(chain), "it does not exist")
        yield found.cache_id
        chain = found.parent

"""The composition root: one engine on one data root."""

from __future__ import annotations

from functools import cached_property
from types import TracebackType

from onggi.config import Config
from onggi.engine.core import Core

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from onggi.cancel import CancelToken
    from onggi.drivers.workers import Workers
    from onggi.engine.auth import Auth
    from onggi.engine.containers.containers import Containers
    from onggi.engine.conversion import ConversionReport
    from onggi.engine.events import Events
    from onggi.engine.explain import Explanation
    from onggi.engine.gc import GcReport
    from onggi.engine.images import Images
    from onggi.engine.layer import StoredLayer
    from onggi.engine.mounts import Mounts
    from onggi.engine.networks.attaching import ContainerNetworks
    from onggi.engine.networks.networks import Networks
    from onggi.engine.remote import Remote
    from onggi.engine.system import System
    from onggi.engine.volumes import Volumes
    from onggi.progress import ProgressSink
    from onggi.registry.client import RegistryClient
    from onggi.transfer.sync import Synced

__all__ = ["Engine"]


class Engine:
    """A data root and everything that can be done with it.

    Made by :func:`onggi.open`. Thread-safe. Rooms are opened when they are first used, so
    that looking at images imports no network code. Close it, or use it as a context
    manager, to end its helper process.
    """

    def __init__(self, config: Config, workers: Workers | None = None) -> None:
        """``workers``, where they have been started before: the engine's from here on."""
        self.config = config
        if workers is not None:
            self._workers = workers
        self._core = Core.open(config)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the helper process and the kept-alive connections."""
        workers = self.__dict__.pop("_workers", None)
        if workers is not None:
            workers.close()
        client = self.__dict__.pop("_client", None)
        if client is not None:
            client.close()

    @cached_property
    def images(self) -> Images:
        """Pull, list, get, tag, remove, prune."""
        from onggi.engine.images import Images

        return Images(self._core, lambda: self._client, lambda: self._workers)

    @cached_property
    def containers(self) -> Containers:
        """Make, run, find, list and remove containers."""
        from onggi.engine.containers.containers import Containers
        from onggi.engine.containers.networking import LateNetworks

        return Containers(self._core, LateNetworks(self._core.layout, lambda: self._attaching))

    @cached_property
    def networks(self) -> Networks:
        """Make, find, list and remove networks; let containers in and out."""
        from onggi.engine.networks.networks import Networks

        return Networks(self._core, self._attaching, lambda: self.containers)

    @cached_property
    def _attaching(self) -> ContainerNetworks:
        from onggi.engine.networks.attaching import ContainerNetworks

        return ContainerNetworks(self._core)

    @cached_property
    def volumes(self) -> Volumes:
        """Make, find, list and remove volumes."""
        from onggi.engine.volumes import Volumes

        return Volumes(self._core)

    @cached_property
    def mounts(self) -> Mounts:
        """Images mounted by hand."""
        from onggi.engine.mounts import Mounts

        return Mounts(self._core)

    @cached_property
    def remote(self) -> Remote:
        """Registries, looked at without pulling."""
        from onggi.engine.remote import Remote

        return Remote(self.config, lambda: self._client)

    @cached_property
    def events(self) -> Events:
        """What happened, and what happens."""
        from onggi.engine.events import Events

        return Events(self._core)

    @cached_property
    def system(self) -> System:
        """Information, disk usage, health."""
        from onggi.engine.system import System

        return System(self._core, lambda: self.auth, lambda: self.images, lambda: self.networks)

    @cached_property
    def auth(self) -> Auth:
        """Logins."""
        from onggi.engine.auth import Auth

        return Auth(self.config, lambda: self._client)

    def layer(self, name: str, number: int | None = None, *, whole_stack: bool = False) -> StoredLayer:
        """A layer by any of its ids, a prefix of one, or as ``IMAGE#N``.

        ``whole_stack``: what lies below it matters. Raises LayerNotFound, AmbiguousLayer.
        """
        from onggi.engine.layer import find_layer

        return find_layer(self._core, name, number, whole_stack=whole_stack)

    def gc(self, *, explain: bool = False, dry_run: bool = False) -> GcReport:
        """Remove what nothing refers to; never an image, never what a process uses.

        ``explain``: report what stays too, and why. ``dry_run``: change nothing. Raises
        NeedsRoot, DataRootOwned.
        """
        from onggi.engine.gc import collect

        return collect(self._core, explain=explain, dry_run=dry_run)

    def convert_storage(
        self,
        to: str,
        *,
        keep: bool = False,
        dry_run: bool = False,
        progress: ProgressSink | None = None,
        cancel: CancelToken | None = None,
    ) -> ConversionReport:
        """Move all images to the storage driver ``to``; open the data root anew afterwards.

        ``keep``: leave the old driver's data. Raises StorageInUse, LayerChanged, DiskFull.
        """
        from onggi.cancel import CancelToken
        from onggi.engine.conversion import Conversion
        from onggi.progress import discard

        conversion = Conversion(self._core, to, progress or discard, cancel or CancelToken())
        return conversion.run(keep=keep, dry_run=dry_run)

    def sync_to(self, target: str, names: Sequence[str] = (), **options: Any) -> list[Synced]:
        """Copy images to another data root (a path or ``ssh://…``); see :func:`onggi.engine.sync.sync`."""
        from onggi.engine.sync import sync

        return sync(self.config, str(self.config.data_root), target, names, **options)

    def sync_from(self, source: str, names: Sequence[str] = (), **options: Any) -> list[Synced]:
        """Copy images from another data root (a path or ``ssh://…``) to this one."""
        from onggi.engine.sync import sync

        return sync(self.config, source, str(self.config.data_root), names, **options)

    def explain(self, text: str) -> Explanation:
        """What an id, a prefix of one, a name or a path in the data root is. Raises NotFound, Ambiguous."""
        from onggi.engine.explain import explain

        return explain(self._core, text)

    def explain_all(self, text: str) -> list[Explanation]:
        """Everything that ``text`` can mean."""
        from onggi.engine.explain import explain_all

        return explain_all(self._core, text)

    @cached_property
    def _workers(self) -> Workers:
        from onggi.drivers.workers import Workers

        return Workers(self._core.driver.job_name)

    @cached_property
    def _client(self) -> RegistryClient:
        from onggi.registry.client import RegistryClient
        from onggi.registry.credentials import Keychain

        keychain = Keychain(self.config.docker_config_dir, self.config.docker_auth_config)
        return RegistryClient(self.config, keychain)

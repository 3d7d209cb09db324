"""``engine.containers``: make, run, find, list, prune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onggi.engine.containers.container import Container
from onggi.engine.containers.names import ContainerNotFound, find_id
from onggi.engine.containers.networking import Networks
from onggi.engine.containers.running import met
from onggi.engine.core import Core
from onggi.errors import OnggiError
from onggi.record import record, replace
from onggi.runtime.launch import NewSupervisor
from onggi.store.containers import CorruptContainer, StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.containers.attach_request import AttachRequest, Started
    from onggi.engine.containers.boot import BootReport
    from onggi.engine.containers.create import Created, CreateRequest
    from onggi.engine.containers.listing import ContainerRow
    from onggi.engine.filters import Filters

__all__ = ["Containers", "PrunedContainers"]


@record
class PrunedContainers:
    """Ids of what was removed, and the bytes that were theirs."""

    ids: tuple[str, ...]
    space_bytes: int


class Containers:
    """Containers of one data root."""

    def __init__(self, core: Core, networks: Networks) -> None:
        self._core = core
        self._networks = networks

    # --- looking ----------------------------------------------------------------------------

    def get(self, name: str) -> Container:
        """By name, id, or the beginning of one id; settled if a crash left it behind.

        Raises ContainerNotFound, AmbiguousContainer.
        """
        id = self._find(name)
        try:
            stored = self._core.containers.get(id)
        except CorruptContainer:
            return self._container(id)  # it can still be removed
        if stored is None or met(self._core, self._networks, stored) is None:
            raise ContainerNotFound(name)
        return self._container(id)

    def _find(self, name: str) -> str:
        store = self._core.containers
        if len(name) == 64 and store.path(name).is_dir():
            return name
        return find_id(name, store.names(), store.ids())

    def _container(self, id: str) -> Container:
        return Container(self._core, self._networks, id)

    def rows(
        self, *, all: bool = False, limit: int = 0, filters: Filters | None = None
    ) -> list[ContainerRow]:
        """As ``ps`` shows them. Raises InvalidFilter, ContainerNotFound."""
        from onggi.engine.containers.listing import list_rows

        found = (met(self._core, self._networks, stored) for stored in self._core.containers.all())
        known = (stored for stored in found if stored is not None)
        return list_rows(self._core, known, all=all, limit=limit, filters=filters, resolve=self._resolve)

    def _resolve(self, name: str) -> StoredContainer:
        return self.get(name).stored

    def sizes(self, id: str) -> tuple[int, int]:
        """Bytes that a container changed, and of those with its image's."""
        from onggi.engine.containers.sizes import container_sizes

        return container_sizes(self._core, self.get(id).stored)

    # --- making -----------------------------------------------------------------------------

    def create(
        self,
        image: str,
        command: Sequence[str] = (),
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        user: str = "",
        workdir: str = "",
        labels: Mapping[str, str] | None = None,
        network: str = "default",
        tty: bool = False,
        stdin: bool = False,
        remove: bool = False,
        volumes: Mapping[str, str] | None = None,
        mounts: Sequence[Mapping[str, Any]] = (),
        layer: int | str = "",
        config: Mapping[str, Any] | None = None,
        host_config: Mapping[str, Any] | None = None,
    ) -> Container:
        """Make a container of an image that is here; it does not run yet.

        ``volumes`` maps places in it (with options: ``/data:ro``) to a volume's name or a path of
        the host, ``mounts`` are objects of Docker's API (``{"Type": "tmpfs", "Target": "/t"}``).
        ``layer``: stand on the image's layer of this number (1: the base) or id, which is not
        recommended. ``remove``: it goes when it ends. What has no parameter of its own is said in Docker's
        words: ``config`` and ``host_config`` are fields of its API's objects, and win.
        Raises ImageNotFound, NameTaken, InvalidArgument.
        """
        from onggi.engine.containers.create import CreateRequest

        words: dict[str, Any] = {
            "Image": image,
            "Cmd": list(command) or None,
            "Env": [f"{key}={value}" for key, value in (env or {}).items()],
            "User": user,
            "WorkingDir": workdir,
            "Labels": dict(labels or {}),
            "Tty": tty,
            "OpenStdin": stdin,
            "StdinOnce": stdin,
            **(config or {}),
        }
        limits = {
            "NetworkMode": network,
            "AutoRemove": remove,
            "Binds": [f"{source}:{place}" for place, source in (volumes or {}).items()],
            "Mounts": list(mounts),
            **(host_config or {}),
        }
        request = CreateRequest(words, limits, name, layer=str(layer))
        return self._container(self.create_as(request).id)

    def create_as(self, request: CreateRequest) -> Created:
        """The same by Docker's own objects; also returns what it would warn of."""
        from onggi.engine.containers.create import create_container

        with self._core.writing():
            created = create_container(self._core, self._resolved(request))
        self._container(created.id)._emit("create")
        return created

    def _resolved(self, request: CreateRequest) -> CreateRequest:
        """``container:NAME`` by id: names change."""
        from onggi.runtime.namespaces import shared_container

        host_config = dict(request.host_config)
        for field in ("NetworkMode", "IpcMode", "PidMode"):
            owner = shared_container(host_config.get(field))
            if owner:
                host_config[field] = f"container:{self.get(owner).id}"
        return replace(request, host_config=host_config)

    def run(self, image: str, command: Sequence[str] = (), **options: Any) -> Container:
        """:meth:`create` and start; returns when it runs. See :meth:`Container.wait`, ``logs``, ``exec``."""
        with NewSupervisor() as supervisor:
            container = self.create(image, command, **options)
            self.start_created(container.id, None, supervisor)
        return container

    def start_created(
        self, id: str, attach: AttachRequest | None, supervisor: NewSupervisor | None = None
    ) -> Started:
        """Start what was just made; it goes again when it cannot start and was to go at its end."""
        container = self._container(id)
        try:
            return container.start(attach, supervisor)
        except OnggiError:
            stored = self._core.containers.get(container.id)
            if stored is not None and stored.auto_remove:
                container.remove(force=True)
            raise

    def boot(self) -> BootReport:
        """After the host has started: start those whose restart policy asks for it."""
        from onggi.engine.containers.boot import boot

        self.settle()
        return boot(self._core, lambda id: self._container(id).start())

    def shut_down(self) -> list[tuple[str, OnggiError]]:
        """Before the host goes down: stop all that run, so that :meth:`boot` starts them again.

        What could not be stopped, by id.
        """
        from onggi.engine.containers.boot import each, running

        return each(running(self._core), lambda id: self._container(id).stop(shutdown=True))

    # --- removing ---------------------------------------------------------------------------

    def settle(self) -> None:
        """Give every container that a crash left behind a true state."""
        from onggi.engine.containers.removal import settle

        with self._core.writing():
            for stored in self._core.containers.all():
                settle(self._core, self._networks, stored)

    def prune(self, filters: Filters | None = None) -> PrunedContainers:
        """Remove all that do not run. Filters: until, label. Raises InvalidFilter."""
        from onggi.engine.containers.prune import prunable
        from onggi.engine.containers.removal import remove_container

        removed, space = [], 0
        with self._core.writing():
            for stored in prunable(self._core, filters or {}):
                size = self.sizes(stored.id)[0]
                try:
                    remove_container(self._core, self._networks, stored.id)
                except (OnggiError, ContainerNotFound):
                    continue  # somebody started it meanwhile
                removed.append(stored.id)
                space += size
        return PrunedContainers(tuple(removed), space)

    # --- a word of its own, which hides the type's name below it ------------------------------

    def list(self, *, all: bool = False) -> list[Container]:
        """Those that run, newest first; ``all``: every one."""
        return [self._container(row.id) for row in self.rows(all=all)]

"""What a container says of itself: read from Docker's files when asked for."""

from __future__ import annotations

from onggi.engine.containers.names import ContainerNotFound
from onggi.engine.containers.running import is_running
from onggi.runtime.client import SupervisorClient
from onggi.store.containers import StoredContainer

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.containers.networking import Networks
    from onggi.engine.core import Core
    from onggi.engine.image import Image

__all__ = ["ContainerFacts"]


class ContainerFacts:
    """The facts of one container; equality is by id."""

    def __init__(self, core: Core, networks: Networks, id: str) -> None:
        self._core = core
        self._networks = networks
        self.id = id

    def __repr__(self) -> str:
        stored = self._core.containers.get(self.id)
        return f"<Container {self.short_id} {stored.name if stored else '(gone)'}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ContainerFacts) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    # --- facts ------------------------------------------------------------------------------

    @property
    def short_id(self) -> str:
        """Docker's 12 digits."""
        return self.id[:12]

    @property
    def stored(self) -> StoredContainer:
        """Docker's two files, as they are now. Raises ContainerNotFound."""
        stored = self._core.containers.get(self.id)
        if stored is None:
            raise ContainerNotFound(self.id)
        return stored

    @property
    def name(self) -> str:
        """Its name."""
        return self.stored.name

    @property
    def labels(self) -> dict[str, str]:
        """Labels, its image's among them."""
        return dict(self.stored.config.get("Labels") or {})

    @property
    def image(self) -> Image:
        """What it was made of. Raises ImageNotFound."""
        from onggi.engine.image import Image
        from onggi.oci.digest import ImageID

        image_id = ImageID(self.stored.document["Image"])
        return Image(self._core, image_id, self._core.images.get(image_id))

    @property
    def running(self) -> bool:
        """True while its first process runs, frozen or not, or waits to be restarted."""
        return is_running(self._core, self.stored)

    @property
    def status(self) -> str:
        """created, running, paused, restarting, removing, exited or dead."""
        from onggi.engine.containers.inspection import status_word, true_state

        return status_word(true_state(self._core, self.stored))

    @property
    def exit_code(self) -> int | None:
        """Of its last run; None while it runs, or when it never did."""
        state = self.stored.state
        return None if self.running or self.status == "created" else int(state["ExitCode"])

    @property
    def log_path(self) -> str:
        """Docker's json-file log on this host; empty where there is none."""
        return str(self.stored.document.get("LogPath") or "")

    def inspect(self, *, size: bool = False) -> dict[str, Any]:
        """Docker's ``container inspect`` object."""
        from onggi.engine.containers.inspection import inspect_container

        return inspect_container(self._core, self.stored, size=size)

    @property
    def supervisor(self) -> SupervisorClient:
        """Who watches it while it runs."""
        return SupervisorClient(self._core.config.exec_root, self.id)

"""Events of containers, as the journal keeps them."""

from __future__ import annotations

from time import time_ns

from onggi.store.journal import Event

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.engine.core import Core
    from onggi.store.containers import StoredContainer

__all__ = ["emit", "event_attributes"]


def event_attributes(stored: StoredContainer) -> dict[str, str]:
    """What events say of a container: labels, image, name."""
    labels = stored.config.get("Labels") or {}
    return {**labels, "image": str(stored.config.get("Image") or ""), "name": stored.name}


def emit(core: Core, action: str, stored: StoredContainer, **more: str) -> None:
    """Write one."""
    attributes = {**event_attributes(stored), **more}
    core.journal.append(Event("container", action, stored.id, attributes, time_ns()))

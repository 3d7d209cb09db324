"""Being attached to a container from its first byte on."""

from __future__ import annotations

from onggi.record import record

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.runtime.client import Attached

__all__ = ["AttachRequest", "Started"]


@record
class AttachRequest:
    """Streams that the caller has from before the start. ``removes``: it removes the container at the end."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    removes: bool = False


@record
class Started:
    """The stream of who attached, and warnings."""

    attached: Attached | None
    warnings: tuple[str, ...]

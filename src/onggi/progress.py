"""What a long verb tells while it works: typed events to one sink.

The two shapes are those of Docker's progress stream (reference: Engine API,
``POST /images/create``): a line of its own, or the state of one numbered thing
that changes in place. A sink may be called from any thread, one call at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from onggi.record import record

__all__ = ["LayerProgress", "LayerStatus", "Message", "ProgressEvent", "ProgressSink", "discard"]


class LayerStatus(Enum):
    """States of a layer in transfer; the values are Docker's words."""

    PULLING = "Pulling fs layer"
    WAITING = "Waiting"
    DOWNLOADING = "Downloading"
    RETRYING = "Retrying"
    VERIFYING = "Verifying Checksum"
    DOWNLOADED = "Download complete"
    EXTRACTING = "Extracting"
    LOADING = "Loading layer"
    COMPLETE = "Pull complete"
    EXISTS = "Already exists"
    PREPARING = "Preparing"
    PUSHING = "Pushing"
    PUSHED = "Pushed"
    HELD = "Layer already exists"
    MOUNTED = "Mounted from"


@record
class Message:
    """A line of its own: ``<id>: <text>``, or ``<text>`` when ``id`` is empty."""

    text: str
    id: str = ""


@record
class LayerProgress:
    """The state of one layer.

    ``id`` is 12 hex: of the blob digest in a pull, of the diffID in a push.
    ``current``/``total`` are bytes: of the compressed blob while downloading and while
    extracting, of the layer while pushing; 0 where they mean nothing. ``retry_in_s`` is set
    with RETRYING only, ``source`` (a repository's path) with MOUNTED only.
    """

    id: str
    status: LayerStatus
    current: int = 0
    total: int = 0
    retry_in_s: int = 0
    source: str = ""

    @property
    def text(self) -> str:
        """Docker's words for this state."""
        if self.status is LayerStatus.RETRYING:
            return f"Retrying in {self.retry_in_s} second{'' if self.retry_in_s == 1 else 's'}"
        return f"{self.status.value} {self.source}" if self.source else str(self.status.value)


ProgressEvent = Message | LayerProgress
ProgressSink = Callable[[ProgressEvent], None]


def discard(event: ProgressEvent) -> None:
    """The sink of a caller who does not watch."""

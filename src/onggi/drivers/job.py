"""What a driver has a worker do."""

from __future__ import annotations

import os

from onggi.record import record

__all__ = ["Job"]


@record
class Job:
    """``request`` names the worker's job (worker.py) and has what it wants to know.

    The worker gets the blob, ``descriptors`` in their order, and the staging lease; they belong
    to whoever asked for the job, who closes them with :meth:`close`.
    """

    request: dict[str, object]
    descriptors: tuple[int, ...]

    def close(self) -> None:
        """Close the descriptors here; a worker that was started has its own."""
        for descriptor in self.descriptors:
            os.close(descriptor)

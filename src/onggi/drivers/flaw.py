"""Something wrong with the files that keep a layer together."""

from __future__ import annotations

from onggi.record import record

__all__ = ["Flaw"]


@record
class Flaw:
    """``file`` is named from its room (``layerdb/size``, ``overlay2/link``).

    ``mendable``: it can be made anew from what else is on disk; else the layer must be fetched.
    """

    file: str
    reason: str
    mendable: bool

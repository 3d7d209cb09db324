"""What engine and worker say to each other over the control socket (``SOCK_SEQPACKET``).

One letter first:

==========  ==========  ==============================================================
engine →    ``N`` <q    so many bytes of the blob are in the file
engine →    ``E`` <q    the blob is complete with so many bytes
engine →    ``F``       verify: a core has nothing left to do
worker →    ``P`` <q    so many bytes of the blob are consumed
worker →    ``R`` JSON  done: ``{"diff_id", "size", "members"}``
worker →    ``X`` JSON  failed: ``{"kind", "message", "hint", "errno"}``
==========  ==========  ==============================================================
"""

from __future__ import annotations

import struct

__all__ = ["CORE_FREE", "NUMBER", "Abandoned"]

NUMBER = struct.Struct("<cq")
CORE_FREE = b"F"


class Abandoned(Exception):
    """The engine has closed the control socket."""

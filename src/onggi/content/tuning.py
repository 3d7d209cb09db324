"""The numbers of a download, each with its reason."""

from __future__ import annotations

from onggi.record import record

__all__ = ["Tuning"]

_MIB = 1024 * 1024


@record
class Tuning:
    """How a download insists, checkpoints, and calls for further connections.

    ``attempts``: answers in a row that may bring (next to) nothing, as Docker's
    ``max-download-attempts``; ``backoff_s``: Docker waits 5, 10, 15, … s between them.
    ``longest_retry_after_s``: a registry that asks for more patience is not waited for.
    ``checkpoint_s``: received seconds that a power cut may cost; each costs one fdatasync.

    A first connection shows its speed for ``trial_s``. Below ``slow_bytes_per_s`` (a core
    digests thirty times that) and with ``parallel_min_bytes`` still to come up to ``helpers``
    further connections join, none for less than ``least_span_bytes``: a request has to be worth
    its round trips.
    """

    attempts: int = 5
    backoff_s: float = 5.0
    longest_retry_after_s: float = 60.0
    checkpoint_s: float = 5.0
    trial_s: float = 1.0
    slow_bytes_per_s: float = 40e6
    parallel_min_bytes: int = 64 * _MIB
    least_span_bytes: int = 8 * _MIB
    helpers: int = 3

"""What dockerd 20.10 itself cannot do on the kernels the tests run on: there is nothing to compare an effect with.

Each is tried on both: dockerd must still refuse it, in these words (test_container_flags.py). Where
the tests run with more rights a row fails, and becomes a row of ``effect_rows.py``.
"""

from __future__ import annotations

from onggi.record import record

__all__ = ["CANNOT", "Cannot"]


@record
class Cannot:
    """What this kernel refuses to dockerd, in runc's words; ``clamped``: Onggi does what is left of it."""

    flags: str
    reason: str
    clamped: bool = False


CANNOT = (
    Cannot("--privileged", "unable to apply caps: operation not permitted", clamped=True),
    Cannot("--cap-add ALL", "unable to apply caps: operation not permitted", clamped=True),
    Cannot("--ulimit nofile=99999999", "error setting rlimit type 7: operation not permitted"),
    Cannot("--oom-score-adj -500", "can't get final child's PID from pipe: EOF"),
    Cannot("--cpu-rt-period 1000000 --cpu-rt-runtime 10000", "cpu.rt_runtime_us: invalid argument"),
)

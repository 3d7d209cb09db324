"""``onggi top``, ``onggi stats`` and ``onggi update``."""

from __future__ import annotations

import time

from onggi.cli.columns import align
from onggi.cli.listing import Listing
from onggi.cli.session import Failure, Session
from onggi.cli.units import bytes_size, human_size
from onggi.errors import Cancelled, NotFound, OnggiError
from onggi.record import record

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.containers.container import Container
    from onggi.engine.containers.stats import ContainerStats, Reading

__all__ = ["run_stats", "run_top", "run_update"]

_TOP_WIDTH, _TOP_PADDING = 20, 3
_INTERVAL_S = 1.0
_SHORT = 12
_CLEAR = "\033[2J\033[H"


def run_top(session: Session) -> int:
    """The processes of a container."""
    name, *options = session.arguments
    table = session.engine.containers.get(name).top(" ".join(options))
    lines = ["\t".join(row) + "\n" for row in (table.titles, *table.rows)]
    session.out.write(align("".join(lines), _TOP_WIDTH, _TOP_PADDING))
    return 0


# --- update -----------------------------------------------------------------------------------

_FIELDS = {
    "blkio-weight": "BlkioWeight",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-rt-period": "CpuRealtimePeriod",
    "cpu-rt-runtime": "CpuRealtimeRuntime",
    "cpu-shares": "CpuShares",
    "cpus": "NanoCpus",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "kernel-memory": "KernelMemory",
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
    "pids-limit": "PidsLimit",
}


def run_update(session: Session) -> int:
    """Other limits for containers."""
    wanted: dict[str, Any] = {
        field: session.flag(flag) for flag, field in _FIELDS.items() if session.given(flag)
    }
    if session.given("restart"):
        from onggi.cli.flag_values import restart

        try:
            wanted["RestartPolicy"] = restart(session.flag("restart"))
        except ValueError as error:
            raise Failure(str(error)) from error
    if not wanted:
        raise Failure("you must provide one or more flags when using this command")
    warnings: list[str] = []
    errors: list[OnggiError] = []
    for name in session.arguments:
        try:
            warnings += session.engine.containers.get(name).update(**wanted)
        except Cancelled:
            raise
        except OnggiError as error:
            errors.append(error)
            continue
        session.out.write(f"{name}\n")
    session.out.flush()
    if warnings:
        session.out.write("\n".join(warnings) + "\n")
    for failure in errors:
        session.report(failure)
    return int(bool(errors))


# --- stats ------------------------------------------------------------------------------------


@record
class _Row:
    """One line; ``asked`` is how the container was named."""

    id: str
    name: str
    asked: str
    stats: ContainerStats


def run_stats(session: Session) -> int:
    """What containers use, once or over and over."""
    listing = _listing(short=not session.flag("no-trunc"))
    format = "json" if session.flag("json") else session.flag("format")
    shown = _Watched(session)
    shown.look()
    once = session.flag("no-stream")
    while True:
        time.sleep(_INTERVAL_S)
        text = listing.render(shown.look(), format)
        if not once and format in ("", "table"):
            session.out.write(_CLEAR)
        session.out.write(text)
        session.out.flush()
        if once:
            return 0


class _Watched:
    """The containers named, or all that run; what was read of each the last time."""

    def __init__(self, session: Session) -> None:
        self._engine = session.engine
        self._all = session.flag("all")
        self._named = [(self._engine.containers.get(name), name) for name in session.arguments]
        self._last: dict[str, Reading | None] = {}

    def look(self) -> list[_Row]:
        """A row for each that is still there, compared with the look before."""
        rows = []
        for container, asked in self._named or self._found():
            try:
                name, now = container.name, container.usage()
            except NotFound:
                continue  # it was removed
            rows.append(_Row(container.id, name, asked, _compare(self._last.get(container.id), now)))
            self._last[container.id] = now
        return rows

    def _found(self) -> list[tuple[Container, str]]:
        found = self._engine.containers.list(all=self._all)
        return [(container, container.short_id) for container in found]


def _compare(before: Reading | None, now: Reading | None) -> ContainerStats:
    from onggi.engine.containers.stats import compare_readings

    return compare_readings(before, now)


def _listing(*, short: bool) -> Listing:
    """The fields of Docker's table."""

    def pair(first: int, second: int) -> str:
        return f"{human_size(first, 3)} / {human_size(second, 3)}"

    return Listing(
        "*container.statsContext",
        {
            "Container": ("CONTAINER", lambda row: row.asked),
            "Name": ("NAME", lambda row: row.name),
            "ID": ("CONTAINER ID", lambda row: row.id[:_SHORT] if short else row.id),
            "CPUPerc": ("CPU %", lambda row: f"{row.stats.cpu_percent:.2f}%"),
            "MemUsage": (
                "MEM USAGE / LIMIT",
                lambda row: f"{bytes_size(row.stats.memory_bytes)} / {bytes_size(row.stats.limit_bytes)}",
            ),
            "MemPerc": ("MEM %", lambda row: f"{row.stats.memory_percent:.2f}%"),
            "NetIO": ("NET I/O", lambda row: pair(row.stats.received_bytes, row.stats.sent_bytes)),
            "BlockIO": ("BLOCK I/O", lambda row: pair(row.stats.read_bytes, row.stats.written_bytes)),
            "PIDs": ("PIDS", lambda row: str(row.stats.processes)),
        },
        ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"),
    )

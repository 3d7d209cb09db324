"""``top``: the processes of a container, as the host's ``ps`` shows them.

Source: moby ``daemon/top_unix.go``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from onggi.engine.containers.running import is_running
from onggi.engine.containers.start import container_runtime
from onggi.engine.core import Core
from onggi.errors import Conflict, FailedPrecondition, InvalidArgument
from onggi.record import record
from onggi.runtime.runc import find_program
from onggi.store.containers import StoredContainer

__all__ = ["ProcessTable", "container_processes"]

_DEFAULT = "-ef"
# A column that is called PID and is none would be taken for it.
_RENAMED = re.compile(r"\s+(\S*)=\s*(PID\S*)")
_ASCII_SPACE = re.compile("[\t\n\f\r ]+")


class PsFailed(FailedPrecondition):
    """``ps`` said no, or what it says is no table of processes."""


@record
class ProcessTable:
    """What ``ps`` shows: titles, and as many fields in each row."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def container_processes(core: Core, stored: StoredContainer, options: str = "") -> ProcessTable:
    """Those of a running container; ``options`` are for ``ps``. Raises Conflict, PsFailed, …"""
    for name, shown in _RENAMED.findall(options):
        if name != "pid":
            raise InvalidArgument(f'specifying "{name}={shown}" is not allowed')
    if not is_running(core, stored):
        raise Conflict(f"Container {stored.id} is not running")
    if stored.state.get("Restarting"):
        raise Conflict(f"Container {stored.id} is restarting, wait until the container is running")
    numbers = container_runtime(core, stored.host_config).processes(stored.id)
    return parse_table(_ps((options or _DEFAULT).split(" "), numbers), set(numbers))


def _ps(options: Sequence[str], numbers: Sequence[int]) -> str:
    """Some options cannot stand beside -q: then all processes are shown, and picked from afterwards."""
    import subprocess

    program = find_program("ps")
    if program is None:
        raise PsFailed("ps: not found on this host", hint="Debian: apt-get install procps")
    narrowed = f"-q{','.join(map(str, numbers))}"
    for words in ([*options, narrowed], list(options)):
        done = subprocess.run([program, *words], capture_output=True, text=True, errors="surrogateescape")
        if done.returncode == 0:
            return done.stdout
    raise PsFailed(f"ps: {(done.stderr.splitlines() or [f'exit status {done.returncode}'])[0]}")


def parse_table(text: str, numbers: Collection[int]) -> ProcessTable:
    """The lines of ``ps`` that are of these processes, lines of their threads included.

    What follows the last title's column belongs to it. Raises PsFailed.
    """
    header, *lines = text.split("\n")
    titles = _fields(header)
    if "PID" not in titles:
        raise PsFailed("Couldn't find PID field in ps output", hint="let it show the column PID")
    column = titles.index("PID")
    rows, of_ours = [], False
    for fields in map(_fields, filter(None, lines)):
        number = fields[column]
        if number != "-":  # a thread, of the process above
            of_ours = _number(number) in numbers
        if of_ours:
            last = len(titles) - 1
            rows.append((*fields[:last], " ".join(fields[last:])))
    return ProcessTable(tuple(titles), tuple(rows))


def _fields(line: str) -> list[str]:
    return [field for field in _ASCII_SPACE.split(line) if field]


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise PsFailed(f"Unexpected pid '{text}'") from None

"""After the host has started: containers whose restart policy asks for it run again, without a daemon.

Which ones is dockerd's rule at its own start. Never one that has not run yet; of the others

    always           every one, stopped by somebody or not
    unless-stopped   those that nobody stopped
    on-failure[:n]   those that ended with another code than 0, n times at most

The same for those whose supervisor was killed, which has ended them with code 137 (removal.py): Docker's
daemon, when it comes back, starts them itself. Here nobody watches supervisors, and who looks at
containers starts none: whoever wants them back calls ``boot`` again, which leaves alone what runs.

Source: moby ``daemon/daemon.go`` (restore), ``restartmanager.go`` (ShouldRestart); tried on dockerd 20.10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from onggi.engine.containers.running import is_running
from onggi.engine.core import Core
from onggi.errors import OnggiError
from onggi.record import record
from onggi.runtime.namespaces import shared_container
from onggi.store.containers import StoredContainer

__all__ = ["BootReport", "boot", "running", "systemd_unit", "wants_to_run"]

_AT_ONCE = 4
_SHARING = ("NetworkMode", "IpcMode", "PidMode")


@record
class BootReport:
    """Ids of containers that run now, and what went wrong with others, by id."""

    started: tuple[str, ...]
    failed: tuple[tuple[str, OnggiError], ...]


def wants_to_run(stored: StoredContainer) -> bool:
    """True when its policy asks for it; it is known not to run."""
    if not stored.document.get("HasBeenStartedBefore") or stored.state.get("Dead"):
        return False
    policy = stored.host_config.get("RestartPolicy") or {}
    name, limit = policy.get("Name"), policy.get("MaximumRetryCount") or 0
    if name == "on-failure":
        count = stored.document.get("RestartCount") or 0
        return stored.state.get("ExitCode") != 0 and (limit == 0 or count < limit)
    if name == "unless-stopped":
        return not stored.document.get("HasBeenManuallyStopped")
    return name == "always"


def boot(core: Core, act: Callable[[str], object]) -> BootReport:
    """Call ``act`` with the id of each container that is to run; those that others join come first."""
    wanted = [
        stored for stored in core.containers.all() if not is_running(core, stored) and wants_to_run(stored)
    ]
    started: list[str] = []
    failed: list[tuple[str, OnggiError]] = []
    for joins in (False, True):
        ids = [stored.id for stored in wanted if _joins_another(stored) == joins]
        for id, error in _each(ids, act):
            if error is None:
                started.append(id)
            else:
                failed.append((id, error))
    return BootReport(tuple(started), tuple(failed))


def running(core: Core) -> list[str]:
    """Ids of those that run."""
    return [stored.id for stored in core.containers.all() if is_running(core, stored)]


def each(ids: Sequence[str], act: Callable[[str], object]) -> list[tuple[str, OnggiError]]:
    """Call ``act`` for several at once; what went wrong."""
    return [(id, error) for id, error in _each(ids, act) if error is not None]


def _each(ids: Sequence[str], act: Callable[[str], object]) -> list[tuple[str, OnggiError | None]]:
    def one(id: str) -> tuple[str, OnggiError | None]:
        try:
            act(id)
        except OnggiError as error:
            return id, error
        return id, None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(one, ids))


def _joins_another(stored: StoredContainer) -> bool:
    return any(shared_container(stored.host_config.get(field)) for field in _SHARING)


_UNIT = """\
[Unit]
Description=Containers of Onggi that start with the host
Wants=network-online.target
After=network-online.target local-fs.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={program} boot
ExecStop={program} boot --stop
TimeoutStopSec=5min

[Install]
WantedBy=multi-user.target
"""


def systemd_unit(program: str) -> str:
    """A unit that starts containers with the host, and stops them before it goes down."""
    return _UNIT.format(program=program)

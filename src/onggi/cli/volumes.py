"""``onggi volume``."""

from __future__ import annotations

import re

from onggi.cli.listing import Listing
from onggi.cli.session import Failure, Session
from onggi.errors import Cancelled, NotFound, OnggiError

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.engine.volumes import Volume

__all__ = ["create", "inspect", "ls", "prune", "remove", "volume_listing"]

_COLUMNS = ("Driver", "Name")
_ABSENT = "N/A"


def create(session: Session) -> int:
    """Make a volume and print its name."""
    name = session.flag("name")
    if session.arguments:
        if name:
            reason = "cannot specify a volume-name through both --name and as a positional arg"
            raise Failure(f"conflicting options: {reason}")
        name = session.arguments[0]
    labels = dict(_pair(text) for text in session.flag("label"))
    volume = session.engine.volumes.create(
        name,
        driver=session.flag("driver"),
        labels=labels if session.given("label") else None,
        options=dict(session.flag("opt")),
    )
    session.out.write(f"{volume.name}\n")
    return 0


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def inspect(session: Session) -> int:
    """Inspect volumes."""
    from onggi.cli.inspect import inspect_each

    return inspect_each(session, lambda name: session.engine.volumes.get(name).inspect())


def ls(session: Session) -> int:
    """List volumes."""
    volumes = sorted(session.engine.volumes.list(session.filters), key=lambda volume: _natural(volume.name))
    if session.flag("json"):
        session.write_json([volume.inspect() for volume in volumes])
    elif session.flag("quiet") and session.flag("format") in ("", "table"):
        session.out.write("".join(f"{volume.name}\n" for volume in volumes))
    else:
        session.out.write(volume_listing().render(volumes, session.flag("format")))
    return 0


def _natural(name: str) -> list[str | int]:
    """Numbers by their value, as Docker sorts here: ``v2`` before ``v10``."""
    return [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", name)]


def volume_listing() -> Listing:
    """The fields of Docker's volume list."""
    return Listing(
        "*formatter.volumeContext",
        {
            "Name": ("VOLUME NAME", lambda volume: volume.name),
            "Driver": ("DRIVER", lambda volume: volume.driver),
            "Scope": ("SCOPE", lambda volume: "local"),
            "Mountpoint": ("MOUNTPOINT", lambda volume: str(volume.path)),
            "Labels": ("LABELS", _labels),
            "Links": ("LINKS", lambda volume: _ABSENT),
            "Size": ("SIZE", lambda volume: _ABSENT),
            "Availability": ("AVAILABILITY", lambda volume: _ABSENT),
            "Group": ("GROUP", lambda volume: _ABSENT),
            "Status": ("STATUS", lambda volume: _ABSENT),
        },
        _COLUMNS,
    )


def _labels(volume: Volume) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(volume.labels.items()))


def remove(session: Session) -> int:
    """Remove volumes; ``--force``: those that are not there are no error."""
    errors: list[OnggiError] = []
    for name in session.arguments:
        try:
            session.engine.volumes.get(name).remove()
        except Cancelled:
            raise
        except OnggiError as error:
            if not (session.flag("force") and isinstance(error, NotFound)):
                errors.append(error)
                continue
        session.out.write(f"{name}\n")
        session.out.flush()
    for failure in errors:
        session.report(failure)
    return int(bool(errors))


def prune(session: Session) -> int:
    """Remove volumes that no container has, after a question unless ``--force``."""
    from onggi.cli.units import human_size

    every = session.flag("all") or session.engine.config.compat == "20.10"
    kind = "all" if every else "anonymous"
    warning = f"WARNING! This will remove {kind} local volumes not used by at least one container."
    if not session.flag("force") and not session.confirm(warning):
        return 0
    report = session.engine.volumes.prune(session.filters, all=every)
    if session.flag("json"):
        session.write_json({"VolumesDeleted": list(report.names), "SpaceReclaimed": report.space_bytes})
        return 0
    if report.names:
        lines = "".join(f"{name}\n" for name in report.names)
        session.out.write(f"Deleted Volumes:\n{lines}\n")
    session.out.write(f"Total reclaimed space: {human_size(report.space_bytes)}\n")
    return 0

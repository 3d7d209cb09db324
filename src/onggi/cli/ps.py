"""``onggi ps``."""

from __future__ import annotations

from onggi.cli.listing import Listing
from onggi.cli.ports import ports_text
from onggi.cli.session import Failure, Session
from onggi.cli.units import ago, ellipsis, go_time, human_size

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from onggi.engine.containers.listing import ContainerRow

__all__ = ["container_listing", "run"]

_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
_SHORT, _COMMAND_WIDTH = 12, 20


def run(session: Session) -> int:
    """List containers, newest first."""
    last = 1 if session.flag("latest") else session.flag("last")
    rows = session.engine.containers.rows(
        all=session.flag("all"), limit=max(last, 0), filters=session.filters
    )
    if session.flag("json"):
        session.write_json([_json(row) for row in rows])
        return 0
    if session.flag("quiet") and session.flag("format") in ("", "table"):
        cut = None if session.flag("no-trunc") else _SHORT
        session.out.write("".join(f"{row.id[:cut]}\n" for row in rows))
        return 0
    columns = (*_COLUMNS, "Size") if session.flag("size") else _COLUMNS
    sized = session.flag("size") or session.flag("format") != "json"
    listing = container_listing(session, short=not session.flag("no-trunc"), sized=sized)
    session.out.write(_rendered(listing, rows, session.flag("format"), columns))
    return 0


def _rendered(listing: Listing, rows: Sequence[ContainerRow], format: str, columns: Sequence[str]) -> str:
    """Docker tries the template before it asks for containers, and complains in words of its own."""
    if "{{" not in format:
        return listing.render(rows, format, columns)
    from onggi.cli.template import TemplateError, TemplateSyntaxError, compile_template

    try:
        compile_template(format)
        return listing.render(rows, format, columns)
    except TemplateSyntaxError as error:
        raise Failure(f"failed to parse template: {error}") from error
    except TemplateError as error:
        raise Failure(f"failed to execute template: {error}") from error


def container_listing(session: Session, *, short: bool, sized: bool = True) -> Listing:
    """The fields of Docker's container lists; sizes are 0 unless somebody wants to see them (``sized``)."""

    def cut(text: str, width: int) -> str:
        return ellipsis(text, width) if short else text

    def size(row: ContainerRow) -> str:
        if not sized:
            return human_size(0)
        own, virtual = session.engine.containers.sizes(row.id)
        return f"{human_size(own, 3)} (virtual {human_size(virtual, 3)})"

    return Listing(
        "*formatter.ContainerContext",
        {
            "ID": ("CONTAINER ID", lambda row: row.id[:_SHORT] if short else row.id),
            "Names": ("NAMES", lambda row: row.name),
            "Image": ("IMAGE", lambda row: _image(row, short)),
            "Command": ("COMMAND", lambda row: f'"{cut(row.command, _COMMAND_WIDTH)}"'),
            "CreatedAt": ("CREATED AT", lambda row: go_time(row.created_at)),
            "RunningFor": ("CREATED", lambda row: ago(row.created_at)),
            "Ports": ("PORTS", lambda row: ports_text(row.ports)),
            "State": ("STATE", lambda row: row.state),
            "Status": ("STATUS", lambda row: row.status),
            "Size": ("SIZE", size),
            "Labels": ("LABELS", lambda row: ",".join(f"{k}={v}" for k, v in sorted(row.labels.items()))),
            "Mounts": ("MOUNTS", lambda row: ",".join(cut(_mount(mount), 15) for mount in row.mounts)),
            "LocalVolumes": ("LOCAL VOLUMES", lambda row: str(_local_volumes(row))),
            "Networks": ("NETWORKS", lambda row: ",".join(row.networks)),
            # Known to image stores with manifests only.
            "Platform": ("PLATFORM", lambda row: None),
        },
        _COLUMNS,
        labels=lambda row: dict(row.labels),
    )


def _image(row: ContainerRow, short: bool) -> str:
    """An image that has lost its name is shown by its id."""
    if short and row.image == row.image_id:
        return row.image.removeprefix("sha256:")[:_SHORT]
    return row.image or "<no image>"


def _mount(mount: Mapping[str, Any]) -> str:
    return str(mount.get("Name") or mount["Source"])


def _local_volumes(row: ContainerRow) -> int:
    return sum(mount.get("Driver") == "local" for mount in row.mounts)


def _json(row: ContainerRow) -> dict[str, Any]:
    """Exact facts of one container, for ``--json``."""
    return {
        "Id": row.id,
        "Names": [row.name],
        "Image": row.image,
        "ImageID": row.image_id,
        "Command": row.command,
        "Created": row.stored.document["Created"],
        "State": row.state,
        "Status": row.status,
        "Ports": list(row.ports),
        "Labels": dict(row.labels),
        "Mounts": list(row.mounts),
        "Networks": list(row.networks),
    }

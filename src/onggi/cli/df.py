"""``onggi system df``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onggi.cli.images import ImageRow, image_listing, rows_of
from onggi.cli.listing import Listing
from onggi.cli.session import Session
from onggi.cli.units import human_size, rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onggi.engine.system import ContainerUsage, DiskUsage
    from onggi.engine.volumes import VolumeUsage

__all__ = ["run"]

_COLUMNS = ("Type", "TotalCount", "Active", "Size", "Reclaimable")
_VERBOSE = (
    *("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"),
    "LastUsed",
)


def run(session: Session) -> int:
    """A summary, or (``-v``) image by image."""
    usage = session.engine.system.df(disk=session.flag("verbose"))
    if session.flag("json"):
        session.write_json(_json(usage))
    elif session.flag("verbose"):
        session.out.write(_verbose(session, usage))
    else:
        session.out.write(_LISTING.render(_summary(usage), session.flag("format")))
    return 0


def _summary(usage: DiskUsage) -> list[dict[str, str]]:
    active = sum(bool(each.containers) for each in usage.images)
    percent = 100 * usage.reclaimable // usage.layers_size if usage.layers_size else 0
    images = {
        "Type": "Images",
        "TotalCount": str(len(usage.images)),
        "Active": str(active),
        "Size": human_size(usage.layers_size),
        "Reclaimable": f"{human_size(usage.reclaimable)} ({percent}%)",
    }
    blobs = {
        "Type": "Received Blobs",
        "TotalCount": "",
        "Active": "",
        "Size": human_size(usage.blobs_size),
        "Reclaimable": human_size(usage.blobs_size),
    }
    return [images, _containers(usage.containers), _volumes(usage.volumes), blobs]


def _containers(found: Sequence[ContainerUsage]) -> dict[str, str]:
    """What those that do not run changed could go."""
    sizes = sum(each.size_bytes for each in found), sum(each.size_bytes for each in found if not each.active)
    return _row("Containers", len(found), sum(each.active for each in found), *sizes)


def _volumes(found: Sequence[VolumeUsage]) -> dict[str, str]:
    """Those that no container has could go."""
    sizes = sum(each.size_bytes for each in found), sum(each.size_bytes for each in found if not each.links)
    return _row("Local Volumes", len(found), sum(each.links > 0 for each in found), *sizes)


def _row(kind: str, count: int, active: int, size_bytes: int, free_bytes: int) -> dict[str, str]:
    percent = f" ({100 * free_bytes // size_bytes}%)" if size_bytes else ""
    return {
        "Type": kind,
        "TotalCount": str(count),
        "Active": str(active),
        "Size": human_size(size_bytes),
        "Reclaimable": f"{human_size(free_bytes)}{percent}",
    }


_LISTING = Listing(
    "*formatter.diskUsageContext",
    {
        "Type": ("TYPE", lambda row: row["Type"]),
        "TotalCount": ("TOTAL", lambda row: row["TotalCount"]),
        "Active": ("ACTIVE", lambda row: row["Active"]),
        "Size": ("SIZE", lambda row: row["Size"]),
        "Reclaimable": ("RECLAIMABLE", lambda row: row["Reclaimable"]),
    },
    _COLUMNS,
)


def _verbose(session: Session, usage: DiskUsage) -> str:
    """Tables, one JSON object, or a template over ``.Images``, whose items are rows of ``images``."""
    format = session.flag("format")
    listing = image_listing(short=format in ("", "table"))
    rows = _rows(usage)
    if format in ("", "table"):
        table = listing.render(rows, "", _VERBOSE)
        blobs = f"Received blobs: {human_size(usage.blobs_size)}\n"
        more = _container_table(session, usage.containers) + _volume_table(usage.volumes)
        return f"Images space usage:\n\n{table}\n{more}{_disk_text(usage)}{blobs}"
    from onggi.cli.gofmt import Record, go_json
    from onggi.cli.template import compile_template

    record = Record.of("*formatter.diskUsageContext", {"Images": [listing.record(row) for row in rows]})
    if format == "json":
        return go_json(record, html=True) + "\n"
    return compile_template(format)(record) + "\n"


def _container_table(session: Session, found: Sequence[ContainerUsage]) -> str:
    from onggi.cli.ps import container_listing

    sizes = {each.row.id: each.size_bytes for each in found}
    size = "SIZE", lambda row: human_size(sizes[row.id], 3)
    fields = {**container_listing(session, short=True).fields, "Size": size}
    listing = Listing("*formatter.diskUsageContext", fields, _CONTAINER_COLUMNS)
    return f"Containers space usage:\n\n{listing.render([each.row for each in found])}\n"


def _volume_table(found: Sequence[VolumeUsage]) -> str:
    return f"Local Volumes space usage:\n\n{_VOLUMES.render(found)}\n"


_CONTAINER_COLUMNS = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
_VOLUMES = Listing(
    "*formatter.diskUsageContext",
    {
        "Name": ("VOLUME NAME", lambda each: each.volume.name),
        "Links": ("LINKS", lambda each: str(each.links)),
        "Size": ("SIZE", lambda each: human_size(each.size_bytes, 3)),
    },
    ("Name", "Links", "Size"),
)


def _disk_text(usage: DiskUsage) -> str:
    """``Layers on disk: 9kB = 4kB shared + 5kB exclusive``: what du counts over their directories."""
    disk = usage.disk
    if disk is None:
        return ""
    parts = [f"{human_size(disk.shared)} shared", f"{human_size(disk.exclusive)} exclusive"]
    if disk.unused:
        parts.append(f"{human_size(disk.unused)} unused (onggi gc)")
    return f"Layers on disk: {human_size(disk.total)} = {' + '.join(parts)}\n"


def _rows(usage: DiskUsage) -> list[ImageRow]:
    rows: list[ImageRow] = []
    for each in usage.images:
        for row in rows_of([each.image]):
            row.containers = each.containers
            row.shared_size = each.shared_size
            row.unique_size = each.unique_size
            rows.append(row)
    return rows


def _json(usage: DiskUsage) -> dict[str, Any]:
    disk = usage.disk
    on_disk = disk and {
        "Total": disk.total,
        "Shared": disk.shared,
        "Exclusive": disk.exclusive,
        "Unused": disk.unused,
    }
    return {
        **({"LayersOnDisk": on_disk} if on_disk else {}),
        "LayersSize": usage.layers_size,
        "BlobsSize": usage.blobs_size,
        "Reclaimable": usage.reclaimable,
        "Images": [
            {
                "Id": each.image.id,
                "RepoTags": each.image.tags,
                "Size": each.image.size,
                "SharedSize": each.shared_size,
                "UniqueSize": each.unique_size,
                "Containers": each.containers,
                "LastUsed": rfc3339(each.image.last_used),
                **({"SharedDisk": each.shared_disk, "UniqueDisk": each.unique_disk} if disk else {}),
            }
            for each in usage.images
        ],
        "Containers": [{"Id": each.row.id, "SizeRw": each.size_bytes} for each in usage.containers],
        "Volumes": [
            {"Name": each.volume.name, "Size": each.size_bytes, "RefCount": each.links}
            for each in usage.volumes
        ],
    }

"""``onggi images``."""

from __future__ import annotations

from collections.abc import Iterator

from onggi.cli.listing import Listing
from onggi.cli.session import Session
from onggi.cli.units import ago, go_time, human_size, rfc3339, short_id, table_size

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.image import Image

__all__ = ["ImageRow", "image_json", "image_listing", "rows_of", "run"]

NONE = "<none>"
_COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size")


class ImageRow:
    """One line of the list: an image under one of its names. Sizes are None where nobody counted them."""

    __slots__ = ("containers", "digest", "image", "repository", "shared_size", "tag", "unique_size")

    def __init__(self, image: Image, repository: str, tag: str, digest: str) -> None:
        self.image = image
        self.repository = repository
        self.tag = tag
        self.digest = digest
        self.containers: int | None = None
        self.shared_size: int | None = None
        self.unique_size: int | None = None


def run(session: Session) -> int:
    """List images, newest first."""
    filters: dict[str, list[str]] = session.filters
    if session.arguments:
        filters.setdefault("reference", []).append(session.arguments[0])
    images = session.engine.images.list(all=session.flag("all"), filters=filters)
    if session.flag("json"):
        session.write_json([image_json(image) for image in images])
        return 0
    session.out.write(_text(session, images))
    return 0


def _text(session: Session, images: list[Image]) -> str:
    format, digests = session.flag("format"), session.flag("digests")
    if session.flag("quiet") and format in ("", "table"):
        cut = (lambda id: id) if session.flag("no-trunc") else short_id
        return "".join(cut(row.image.id) + "\n" for row in rows_of(images, digests=digests))
    columns = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size") if digests else _COLUMNS
    if digests and format.startswith("table ") and "{{.Digest}}" not in format:
        format += "\t{{.Digest}}"
    needs_digests = digests or "{{.Digest}}" in format
    rows = rows_of(images, digests=needs_digests, digest_rows=digests)
    return image_listing(short=not session.flag("no-trunc")).render(rows, format, columns)


def rows_of(images: list[Image], *, digests: bool = False, digest_rows: bool = False) -> Iterator[ImageRow]:
    """Docker's lines for each image: one a tag (and digest, with ``digests``), repository by repository.

    A repository that names the image by digest only is one line, or one a digest with
    ``digest_rows``.
    """
    for image in images:
        if not image.references:
            yield ImageRow(image, NONE, NONE, NONE)
        repositories: dict[str, tuple[list[str], list[str]]] = {}
        for reference in image.references:
            tags, known = repositories.setdefault(reference.familiar_name, ([], []))
            if reference.digest is None:
                tags.append(reference.tag or NONE)
            else:
                known.append(reference.digest)
        tagged = [name for name in repositories if repositories[name][0]]
        for name in tagged:
            tags, known = repositories[name]
            for tag in tags:
                for digest in known if digests and known else [NONE]:
                    yield ImageRow(image, name, tag, digest)
        for name, (tags, known) in repositories.items():
            if not tags:
                for digest in known if digest_rows else [""]:
                    yield ImageRow(image, name, NONE, digest)


def image_listing(*, short: bool) -> Listing:
    """The fields of Docker's image lists; ids are cut to 12 digits when ``short``."""
    cut = short_id if short else str

    def size(value: int | None) -> str:
        return "N/A" if value is None else human_size(value)

    return Listing(
        "*formatter.imageContext",
        {
            "ID": ("IMAGE ID", lambda row: cut(row.image.id)),
            "Repository": ("REPOSITORY", lambda row: row.repository),
            "Tag": ("TAG", lambda row: row.tag),
            "Digest": ("DIGEST", lambda row: row.digest),
            "CreatedSince": ("CREATED", lambda row: ago(row.image.created_at)),
            "CreatedAt": ("CREATED AT", lambda row: go_time(row.image.created_at)),
            "Size": ("SIZE", lambda row: table_size(row.image.size)),
            "Containers": (
                "CONTAINERS",
                lambda row: "N/A" if row.containers is None else str(row.containers),
            ),
            "VirtualSize": ("SIZE", lambda row: human_size(row.image.size)),
            "SharedSize": ("SHARED SIZE", lambda row: size(row.shared_size)),
            "UniqueSize": ("UNIQUE SIZE", lambda row: size(row.unique_size)),
            "LastUsed": ("LAST USED", lambda row: ago(row.image.last_used)),
            "Pinned": ("PINNED", lambda row: str(row.image.pinned).lower()),
        },
        _COLUMNS,
        hidden=("LastUsed", "Pinned"),
    )


def image_json(image: Image) -> dict[str, Any]:
    """Exact facts of one image, for ``--json``."""
    return {
        "Id": image.id,
        "RepoTags": image.tags,
        "RepoDigests": image.digests,
        "ParentId": image.parent or "",
        "Created": image.created,
        "Size": image.size,
        "Labels": dict(image.labels),
        "LastUsed": rfc3339(image.last_used),
        "Pinned": image.pinned,
    }

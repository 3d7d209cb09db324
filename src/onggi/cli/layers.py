"""``onggi layers``: the way from an image to blobs, ids and directories."""

from __future__ import annotations

from onggi.cli.listing import Listing
from onggi.cli.session import Session
from onggi.cli.units import ago, ellipsis, human_size, short_id, table_size

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.image import Image, Layer

__all__ = ["run"]

_CREATED_BY_WIDTH = 64
_COLUMNS = ("Layer", "Size", "Blob", "DiffID", "ChainID", "CacheID", "CreatedBy")
_ONLY_HERE = "no other image"
_NO_BLOB = "unknown (it was not pulled)"


def run(session: Session) -> int:
    """Show the layers of an image, top layer first."""
    image = session.engine.images.get(session.arguments[0])
    if session.flag("wasted"):
        from onggi.cli.wasted import show_waste

        show_waste(session, image)
        return 0
    layers = list(reversed(image.layers))
    short = not session.flag("no-trunc")
    format = session.flag("format")
    if session.flag("json"):
        session.write_json([_json(layer) for layer in layers])
    elif format:
        session.out.write(_listing(short).render(layers, format))
    else:
        session.out.write(_text(image, layers, short))
    return 0


def _text(image: Image, layers: list[Layer], short: bool) -> str:
    names = ", ".join(image.tags or image.digests) or "<none>"
    plural = "layer" if len(layers) == 1 else "layers"
    parts = [f"{names}\n{image.id}\n{len(layers)} {plural}, {human_size(image.size)}\n"]
    parts += [_layer_text(layer, short) for layer in layers]
    return "\n".join(parts)


def _layer_text(layer: Layer, short: bool) -> str:
    cut = short_id if short else str
    facts = [
        ("blob", _blobs(layer, cut) or _NO_BLOB),
        ("diffID", cut(layer.diff_id)),
        ("chainID", cut(layer.chain_id)),
        ("cache-id", cut(layer.cache_id)),
        ("files", str(layer.path)),
        ("metadata", str(layer.metadata_path)),
        ("shared with", ", ".join(_sharers(layer)) or _ONLY_HERE),
    ]
    head = f"layer{layer.index}  {human_size(layer.size)}  {_created_by(layer, short)}".rstrip()
    return head + "\n" + "".join(f"  {name:<12} {value}\n" for name, value in facts)


def _blobs(layer: Layer, cut: Any) -> str:
    """Each blob once, newest first, with the repositories that served it."""
    repositories: dict[str, list[str]] = {}
    for source in reversed(layer.blobs):
        repositories.setdefault(source.digest, []).append(source.repository)
    return ", ".join(f"{cut(digest)} ({', '.join(names)})" for digest, names in repositories.items())


def _created_by(layer: Layer, short: bool) -> str:
    text = " ".join(layer.history.created_by.split()) if layer.history else ""
    return ellipsis(text, _CREATED_BY_WIDTH) if short else text


def _sharers(layer: Layer) -> list[str]:
    """Names of the other images on this layer; those without a name by their short id."""
    return [name for image in layer.shared_with for name in image.tags or [image.id.short]]


def _listing(short: bool) -> Listing:
    cut = short_id if short else str

    def blob(layer: Layer) -> str:
        return cut(layer.blobs[-1].digest) if layer.blobs else ""

    return Listing(
        "*formatter.layerContext",
        {
            "Layer": ("LAYER", lambda layer: f"layer{layer.index}"),
            "Index": ("INDEX", lambda layer: str(layer.index)),
            "Size": ("SIZE", lambda layer: table_size(layer.size)),
            "Blob": ("BLOB", blob),
            "Repository": ("REPOSITORY", lambda layer: layer.blobs[-1].repository if layer.blobs else ""),
            "DiffID": ("DIFF ID", lambda layer: cut(layer.diff_id)),
            "ChainID": ("CHAIN ID", lambda layer: cut(layer.chain_id)),
            "Parent": ("PARENT", lambda layer: cut(layer.parent) if layer.parent else ""),
            "CacheID": ("CACHE ID", lambda layer: cut(layer.cache_id)),
            "Directory": ("DIRECTORY", lambda layer: str(layer.path)),
            "Metadata": ("METADATA", lambda layer: str(layer.metadata_path)),
            "CreatedBy": ("CREATED BY", lambda layer: _created_by(layer, short)),
            "CreatedSince": ("CREATED", _created_since),
            "LastUsed": ("LAST USED", lambda layer: ago(layer.last_used)),
            "SharedWith": ("SHARED WITH", lambda layer: ", ".join(_sharers(layer))),
        },
        _COLUMNS,
    )


def _created_since(layer: Layer) -> str:
    from onggi.oci.timestamps import to_unix

    return ago(to_unix(layer.history.created if layer.history else None))


def _json(layer: Layer) -> dict[str, Any]:
    made_by = layer.history
    return {
        "Index": layer.index,
        "Size": layer.size,
        "Blobs": [{"Digest": source.digest, "Repository": source.repository} for source in layer.blobs],
        "DiffID": layer.diff_id,
        "ChainID": layer.chain_id,
        "Parent": layer.parent or "",
        "CacheID": layer.cache_id,
        "Directory": str(layer.path),
        "Metadata": str(layer.metadata_path),
        "Created": made_by.created if made_by else None,
        "CreatedBy": made_by.created_by if made_by else "",
        "SharedWith": _sharers(layer),
    }

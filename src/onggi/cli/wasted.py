"""``onggi layers --wasted``: what each layer adds, changes, removes, and what of it is of no use."""

from __future__ import annotations

from onggi.cli.columns import table
from onggi.cli.long_listing import json_name, shown_name
from onggi.cli.session import Session
from onggi.cli.units import ellipsis, human_size, table_size

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.image import Image, Layer
    from onggi.tree.waste import LayerShare, Waste

__all__ = ["show_waste"]

_PATHS_SHOWN, _PATHS_COUNTED = 10, 100
_CREATED_BY_WIDTH = 40


def show_waste(session: Session, image: Image) -> None:
    """Measure and print."""
    waste = image.contents.waste(_PATHS_COUNTED if session.flag("json") else _PATHS_SHOWN)
    if session.flag("json"):
        session.write_json(_json(image, waste))
        return
    short = not session.flag("no-trunc")
    pairs = list(zip(image.layers, waste.layers, strict=True))
    rows = [_row(layer, share, short) for layer, share in reversed(pairs)]
    headers = ("LAYER", "ADDED", "CHANGED", "REMOVED", "HIDES", "WASTED", "CREATED BY")
    session.out.write(table(headers, rows))
    session.out.write(
        f"\nEfficiency:  {waste.efficiency:.1%}\n"
        f"Wasted:      {human_size(waste.wasted_bytes)} of {human_size(waste.total_bytes)}\n"
    )
    if waste.paths:
        worst = [(table_size(p.wasted_bytes), str(p.layers), f"/{shown_name(p.path)}") for p in waste.paths]
        session.out.write("\n" + table(("WASTED", "LAYERS", "PATH"), worst))


def _row(layer: Layer, share: LayerShare, short: bool) -> tuple[str, ...]:
    made_by = " ".join(layer.history.created_by.split()) if layer.history else ""
    return (
        f"layer{layer.index}",
        _files(share.added_files, share.added_bytes),
        _files(share.changed_files, share.changed_bytes),
        _files(share.removed_files, share.removed_bytes),
        table_size(share.hidden_bytes),
        table_size(share.wasted_bytes),
        ellipsis(made_by, _CREATED_BY_WIDTH) if short else made_by,
    )


def _files(count: int, size_bytes: int) -> str:
    return f"{count} ({table_size(size_bytes)})" if count else "0"


def _json(image: Image, waste: Waste) -> dict[str, Any]:
    return {
        "ImageID": image.id,
        "Efficiency": round(waste.efficiency, 6),
        "WastedBytes": waste.wasted_bytes,
        "TotalBytes": waste.total_bytes,
        "Layers": [
            {
                "Index": layer.index,
                "ChainID": layer.chain_id,
                "AddedFiles": share.added_files,
                "AddedBytes": share.added_bytes,
                "ChangedFiles": share.changed_files,
                "ChangedBytes": share.changed_bytes,
                "RemovedFiles": share.removed_files,
                "RemovedBytes": share.removed_bytes,
                "HiddenBytes": share.hidden_bytes,
                "WastedBytes": share.wasted_bytes,
            }
            for layer, share in zip(image.layers, waste.layers, strict=True)
        ],
        "Paths": [
            {"Path": "/" + json_name(path.path), "WastedBytes": path.wasted_bytes, "Layers": path.layers}
            for path in waste.paths
        ],
    }

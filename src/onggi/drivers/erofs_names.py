"""The files of a layer that erofs keeps: what each is called; and where layers are attached."""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["DATA", "DIFF", "INDEX", "PARENT", "SPLIT", "SUMS", "TAR", "mounts_directory"]

TAR = "layer.tar"
INDEX = "layer.erofs"
SUMS = "layer.sums"
DATA = "layer.data"
SPLIT = "tar-split.json.gz"
PARENT = "parent"
DIFF = "diff"


def mounts_directory(exec_root: Path, home: os.stat_result) -> Path:
    """The place of the layers in the driver's directory ``home``, while any is attached (layer_mounts.py)."""
    return exec_root / "layers" / f"{home.st_dev:x}-{home.st_ino:x}"

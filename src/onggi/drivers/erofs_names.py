"""The files of a layer that erofs keeps: what each is called."""

from __future__ import annotations

__all__ = ["DATA", "DIFF", "INDEX", "PARENT", "SPLIT", "SUMS", "TAR"]

TAR = "layer.tar"
INDEX = "layer.erofs"
SUMS = "layer.sums"
DATA = "layer.data"
SPLIT = "tar-split.json.gz"
PARENT = "parent"
DIFF = "diff"

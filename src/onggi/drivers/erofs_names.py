"""The files of a layer that erofs keeps: what each is called."""

from __future__ import annotations

__all__ = ["DIFF", "INDEX", "PARENT", "SUMS", "TAR"]

TAR = "layer.tar"
INDEX = "layer.erofs"
SUMS = "layer.sums"
PARENT = "parent"
DIFF = "diff"

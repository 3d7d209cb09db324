"""The bytes between a supervisor and a collector; the package's own text draws them."""

from __future__ import annotations

import struct

__all__ = ["FRAME", "LENGTH", "STREAMS", "STREAM_NUMBERS"]

LENGTH = struct.Struct(">I")
FRAME = struct.Struct(">IBQ")
STREAMS = {1: "stdout", 2: "stderr"}
STREAM_NUMBERS = {name: number for number, name in STREAMS.items()}

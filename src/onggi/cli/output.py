"""Standard output and error as bytes: UTF-8 whatever the locale, as Docker writes it.

Names that are not UTF-8 pass through unchanged (surrogateescape).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["UNKNOWN_WIDTH", "Output"]

# Columns Docker assumes where there is no terminal to ask.
UNKNOWN_WIDTH = 200


class Output:
    """One stream. ``stream`` None is a closed descriptor: what is written there is gone."""

    def __init__(self, stream: BinaryIO | None) -> None:
        self._stream = stream
        self.is_terminal = stream is not None and stream.isatty()

    def write(self, text: str) -> None:
        """Write and keep in the buffer until :meth:`flush`. Raises BrokenPipeError."""
        if self._stream is not None:
            self._stream.write(text.encode("utf-8", "surrogateescape"))

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are."""
        if self._stream is not None:
            self._stream.write(data)

    def flush(self) -> None:
        """Hand everything to the system."""
        if self._stream is not None:
            self._stream.flush()

    @property
    def width(self) -> int:
        """Columns of the terminal now; UNKNOWN_WIDTH without one."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns if self._stream else UNKNOWN_WIDTH
        except (OSError, ValueError):
            return UNKNOWN_WIDTH

"""Where what a container writes goes, during one run of it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Log"]


class Log:
    """Opened before the container starts, written to, closed when all it wrote was read."""

    def open(self, ready: Callable[[str], None]) -> None:
        """``ready`` is called once: with a complaint, or an empty text."""
        ready("")

    @property
    def full(self) -> bool:
        """True while nothing more is to be read from the container."""
        return False

    def write(self, stream: str, pieces: list[tuple[bytes, int]]) -> None:
        """Take pieces of ``stdout`` or ``stderr``, each with its time. Raises nothing."""
        raise NotImplementedError

    def close(self, done: Callable[[], None] = lambda: None) -> None:
        """No more writes; ``done`` is called when what was written has got where it can."""
        done()

"""What a TarReader tells about a stream while it reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from onggi.archive.tar_format import Member

__all__ = ["TarObserver"]


class TarObserver(Protocol):
    """Sees a whole archive pass. The concatenation of all segments and contents is the stream.

    For each member: ``segment`` with the bytes since the last content (padding, headers),
    ``begin``, any number of ``content``, ``finish``. At the end one ``segment`` with the
    end blocks, more with what follows them, and ``end``.

    The bytes of a sparse member are passed as segments, never as content: they are not
    what a file system gives back.
    """

    def segment(self, data: bytes) -> None:
        """Bytes that are no content; never empty."""

    def begin(self, member: Member) -> None:
        """A member whose headers have passed; an exception refuses the archive."""

    def content(self, piece: bytes | memoryview) -> None:
        """The next piece of the member's content; valid during the call only."""

    def finish(self, member: Member) -> None:
        """The member's content is complete."""

    def end(self) -> None:
        """The stream is at its end."""

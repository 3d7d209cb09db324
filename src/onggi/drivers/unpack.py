"""A worker's job: a layer's tar becomes a directory and a tar-split, as Docker keeps it."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

from onggi.archive import tar, tarsplit_writer
from onggi.archive.compression import Compression
from onggi.drivers.stream import Flusher, Follower, Stream, confine
from onggi.linux.filesystem import syncfs
from onggi.tree import apply

__all__ = ["unpack", "write_tree"]


def unpack(request: dict[str, object], control: socket.socket, descriptors: list[int]) -> dict[str, object]:
    """The tree into directory ``root``, tar-split into file ``split``.

    The staging lease is only kept open: as long as this process lives, nobody clears its directory.
    """
    blob, root, split, _lease = descriptors
    flusher = Flusher(lambda: syncfs(root))
    stream = Stream(Follower(control, blob, int(str(request["start"]))))
    confine(root)
    pieces = _noted(stream, flusher) if request["flush"] else stream
    applied = write_tree(request, pieces, root, split, stream.compression)
    stream.finish()
    flusher.check()
    return {"diff_id": stream.diff_id, "size": applied.size_bytes, "members": applied.members}


def _noted(pieces: Iterable[bytes], flusher: Flusher) -> Iterator[bytes]:
    position = 0
    for piece in pieces:
        yield piece
        position += len(piece)
        flusher.note(position)


def write_tree(
    request: dict[str, object], pieces: Iterable[bytes], root: int, split: int, compression: Compression
) -> apply.Applied:
    """Unpack a tar stream that came by ``compression``."""
    with tarsplit_writer.gzip_writer(split) as out:
        # Docker inflates a blob once; a second layer of it is made from the first one's tar.
        inflated = compression is Compression.GZIP and not request["repeated"]
        writer = tarsplit_writer.TarSplitWriter(
            out,
            trailing_empty_segment=bool(request["trailing_empty_segment"]),
            window=tarsplit_writer.GO_INFLATE_WINDOW if inflated else 0,
        )
        return apply.apply_layer(tar.TarReader(pieces, observer=writer), root)

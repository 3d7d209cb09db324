"""A worker's job: the index of a layer with contents on 4 KiB is written anew, once they are proved."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256

from onggi.archive.erofs.format import BLOCK_BITS_4K
from onggi.archive.tar import TarReader
from onggi.archive.tarsplit import read_gzip
from onggi.drivers.aligned import archive, scan
from onggi.drivers.erofs_names import DATA, INDEX, SPLIT
from onggi.drivers.keep import tree_index
from onggi.drivers.rederive import CAPABILITIES, WrongTar, replace_files
from onggi.drivers.stream import confine

__all__ = ["rederive_aligned"]


def rederive_aligned(request: dict[str, object]) -> dict[str, object]:
    """``request`` has the layer's ``directory``, ``diff_id`` and ``uuid`` in hex; gives the layer's size.

    Raises WrongTar, ContentMismatch, InvalidTarSplit, InvalidTar, InvalidLayer, NotRepresentable.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC
    directory = os.open(str(request["directory"]), flags | os.O_DIRECTORY)
    status = os.fstat(directory)
    data = os.open(DATA, flags, dir_fd=directory)
    split = os.open(SPLIT, flags, dir_fd=directory)
    confine(directory, CAPABILITIES)
    hashed = sha256()

    def pieces() -> Iterator[bytes]:
        with open(split, "rb", closefd=False) as file, read_gzip(file) as entries:
            for piece in archive(entries, data):
                hashed.update(piece)
                yield piece

    scanned = scan(TarReader(pieces()))
    diff_id = f"sha256:{hashed.hexdigest()}"
    if diff_id != request["diff_id"]:
        raise WrongTar(SPLIT, diff_id)
    uuid = bytes.fromhex(str(request["uuid"]))
    index = tree_index(scanned.tree, scanned.end, uuid, block_bits=BLOCK_BITS_4K)
    replace_files(directory, {INDEX: index}, (data, split), status)
    return {"size": scanned.tree.sizes()[0]}

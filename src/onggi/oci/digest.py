"""The ids of the image world, each its own type.

==========  ======================================================  =========================
type        hash of                                                 example of use
==========  ======================================================  =========================
Digest      a blob, manifest or index, as served                    ``nginx@sha256:…``
ImageID     the image config's bytes                                ``docker images``
DiffID      a layer's uncompressed tar, all of it                   config ``rootfs.diff_ids``
ChainID     ``"<parent chainID> <diffID>"``; the base: its diffID   ``layerdb/sha256/<hex>``
CacheID     nothing (random)                                        ``overlay2/<cache-id>``
LinkID      nothing (random)                                        ``overlay2/l/<link>``
==========  ======================================================  =========================

They are strings (``sha256:<hex>``), so they sort, hash and serialise as such; a type
checker keeps one from being taken for another.
"""

from __future__ import annotations

import os
import re
from functools import cache

from onggi.errors import InvalidArgument

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Self

__all__ = [
    "EMPTY_TAR_DIFF_ID",
    "CacheID",
    "ChainID",
    "DiffID",
    "Digest",
    "Hash",
    "ImageID",
    "InvalidDigest",
    "LinkID",
    "chain_id",
    "chain_ids",
    "is_hex",
    "random_id",
]

# OCI image-spec, descriptor.md:
# digest = algorithm ":" encoded; algorithm = word { ("." | "+" | "_" | "-") word }
_SHAPE = r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+"
# Hexadecimal digits per algorithm. Blobs may be named by any of them; what Docker keeps in its own
# directories is sha256 alone (it ignores other directories at start), so those ids are refused early.
_ANY = {"sha256": 64, "sha384": 96, "sha512": 128}
_SHA256 = {"sha256": 64}
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
# Bytes up to which plain C code (300 MB/s) hashes sooner than OpenSSL is loaded (3 ms).
_DOCUMENT_BYTES = 256 * 1024
# Characters: `l/<link>:` is 29 bytes, so that 128 layers fit into the one page of options mount(2) takes.
_LINK_LENGTH = 26


class InvalidDigest(InvalidArgument):
    """Not a digest; the message is go-digest's."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(reason, hint="a digest looks like sha256:<64 hexadecimal digits>")
        self.text = text


class Hash(str):
    """``<algorithm>:<hex>``; make one with :meth:`parse` (untrusted) or :meth:`of` (computed)."""

    __slots__ = ()
    _algorithms = _SHA256

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check and convert, in go-digest's order. Raises InvalidDigest with its words."""
        algorithm, _, digits = text.partition(":")
        if not algorithm or not digits:
            raise InvalidDigest(text, "invalid checksum digest format")
        length = cls._algorithms.get(algorithm)
        if length is None:
            known_shape = re.fullmatch(_SHAPE, text)
            reason = "unsupported digest algorithm" if known_shape else "invalid checksum digest format"
            raise InvalidDigest(text, reason)
        if len(digits) != length:
            raise InvalidDigest(text, "invalid checksum digest length")
        if not is_hex(digits):
            raise InvalidDigest(text, "invalid checksum digest format")
        return cls(text)

    @property
    def algorithm(self) -> str:
        """``sha256`` (or sha384, sha512)."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The digits alone."""
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first 12 digits, as Docker prints ids."""
        return self.partition(":")[2][:12]

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The sha256 of ``data``."""
        return cls("sha256:" + _sha256_hex(data))


def _sha256_hex(data: bytes) -> str:
    """A document is hashed by CPython's own code: loading OpenSSL takes longer than that is slower."""
    own = _own_sha256() if len(data) <= _DOCUMENT_BYTES else None
    if own is not None:
        digest: str = own(data).hexdigest()
        return digest
    from hashlib import sha256

    return sha256(data).hexdigest()


@cache
def _own_sha256() -> Any:
    """CPython's own sha256, or None; looked for once, since a module that is not there costs 0.3 ms."""
    for module in ("_sha2", "_sha256"):  # from Python 3.12 on, before
        try:
            return __import__(module).sha256
        except ImportError:
            continue
    return None


class Digest(Hash):
    """Of bytes as a registry serves them: blob, manifest, index."""

    __slots__ = ()
    _algorithms = _ANY


class ImageID(Hash):
    """Of an image config's bytes."""

    __slots__ = ()


class DiffID(Hash):
    """Of a layer's uncompressed tar."""

    __slots__ = ()


class ChainID(Hash):
    """Of a layer and everything below it."""

    __slots__ = ()


class CacheID(str):
    """64 random hexadecimal digits: a layer's directory in the driver. Means nothing elsewhere."""

    __slots__ = ()

    @classmethod
    def random(cls) -> CacheID:
        """A new one."""
        return cls(random_id())


class LinkID(str):
    """26 characters of base32 (A–Z2–7): overlay2's short name of a layer."""

    __slots__ = ()

    @classmethod
    def random(cls) -> LinkID:
        """A new one, 130 random bits as Docker's."""
        return cls("".join(_BASE32[byte & 31] for byte in os.urandom(_LINK_LENGTH)))


# Of 1024 zero bytes, the tar of nothing: commit and build treat it as "no layer".
EMPTY_TAR_DIFF_ID = DiffID("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")


def chain_id(parent: ChainID | None, diff: DiffID) -> ChainID:
    """The id of ``diff`` on top of ``parent``: sha256 of both as text with one space between."""
    if parent is None:
        return ChainID(diff)
    return ChainID.of(f"{parent} {diff}".encode("ascii"))


def chain_ids(diffs: Iterable[DiffID]) -> tuple[ChainID, ...]:
    """The chainID of every layer, base first."""
    chains: list[ChainID] = []
    for diff in diffs:
        chains.append(chain_id(chains[-1] if chains else None, diff))
    return tuple(chains)


def is_hex(text: str) -> bool:
    """Whether ``text`` has hexadecimal digits in lower case only, as ids are written."""
    return bool(text) and not text.strip("0123456789abcdef")


def random_id() -> str:
    """64 hexadecimal digits whose first 12, the short id, are never all decimal.

    A short id of decimal digits only would be taken for a number (a process id, a port) by what reads it.
    """
    while True:
        text = os.urandom(32).hex()
        if not text[:12].isdecimal():
            return text

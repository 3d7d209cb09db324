"""Bytes against the digest that names them."""

from __future__ import annotations

from hashlib import new as new_hash

from onggi.oci.digest import Digest

__all__ = ["Verifier", "matches"]


class Verifier:
    """Hashes a blob's bytes in order; ``position`` is how many have passed."""

    def __init__(self, digest: Digest) -> None:
        self.digest = digest
        self._hash = new_hash(digest.algorithm)
        self.position = 0

    def update(self, data: bytes | memoryview) -> None:
        """The next bytes. The interpreter lock is released while they are hashed."""
        self._hash.update(data)
        self.position += len(data)

    def matches(self) -> bool:
        """True when the bytes so far are exactly the blob."""
        return self._hash.hexdigest() == self.digest.hex


def matches(data: bytes, digest: Digest) -> bool:
    """True when ``data`` is what ``digest`` names."""
    verifier = Verifier(digest)
    verifier.update(data)
    return verifier.matches()

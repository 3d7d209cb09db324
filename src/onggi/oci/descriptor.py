"""A descriptor: what some bytes are, which, and how many."""

from __future__ import annotations

from onggi.record import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from onggi.oci.digest import Digest
    from onggi.oci.platform import Platform

__all__ = ["Descriptor"]


@record
class Descriptor:
    """OCI image-spec, descriptor.md. ``size`` is bytes; -1 means unknown.

    ``platform`` is given by the entries of an index alone, and not by all of them.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    urls: tuple[str, ...] = ()

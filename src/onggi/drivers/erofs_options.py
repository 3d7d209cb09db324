"""Settings of the erofs driver: ``storage-opts`` of daemon.json, ``--storage-opt``.

``erofs.block-size=512|4096``
    how new layers are kept: their tar as it is, in blocks of 512 bytes; or their contents on
    blocks of 4 KiB, and what makes the tar of them (aligned.py). Layers that are there stay
    what they are: each says itself what it is.
``erofs.immutable=true|false``
    whether the files of new layers get the flag that ``chattr +i`` sets, where this user and the file
    system below can: nobody changes them by mistake then, root neither. It is taken away by whoever
    removes a layer or makes its index anew.

Other drivers' settings (``overlay2.…``) are passed over: one file serves dockerd too.
"""

from __future__ import annotations

from collections.abc import Iterable

from onggi.errors import InvalidArgument
from onggi.record import record

__all__ = ["ErofsOptions", "read_erofs_options"]

_PREFIX = "erofs."
_BLOCK_SIZES = ("512", "4096")
_BOOLEANS = {"true": True, "false": False}


@record
class ErofsOptions:
    """``block_bytes`` of new layers: 512 or 4096."""

    block_bytes: int = 512
    immutable: bool = False


def read_erofs_options(texts: Iterable[str]) -> ErofsOptions:
    """What ``name=value`` texts say; the last of a name counts. Raises InvalidArgument."""
    found = dict(_pair(text) for text in texts if text.startswith(_PREFIX))
    block = found.pop("block-size", _BLOCK_SIZES[0])
    if block not in _BLOCK_SIZES:
        raise InvalidArgument(f"storage-opt erofs.block-size={block}: it is {' or '.join(_BLOCK_SIZES)}")
    immutable = found.pop("immutable", "false")
    if immutable not in _BOOLEANS:
        raise InvalidArgument(f"storage-opt erofs.immutable={immutable}: it is {' or '.join(_BOOLEANS)}")
    for name in found:
        raise InvalidArgument(
            f"storage-opt {_PREFIX}{name}: there is no such setting",
            hint="there are erofs.block-size and erofs.immutable",
        )
    return ErofsOptions(int(block), _BOOLEANS[immutable])


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.removeprefix(_PREFIX).partition("=")
    if not equals:
        raise InvalidArgument(f"storage-opt {text}: a value is missing", hint="write NAME=VALUE")
    return name, value

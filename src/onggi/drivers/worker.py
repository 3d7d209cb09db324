"""One layer in a process of its own: unpack it, keep it, hash it, check it.

The control socket carries the packets of packets.py. The engine's end closing means: stop,
nobody wants this layer any more.
"""

from __future__ import annotations

import gc
import json
import socket
from collections.abc import Callable

from onggi import errors
from onggi.drivers.packets import CORE_FREE, Abandoned

__all__ = ["preload", "run"]


def preload(job: str) -> None:
    """Import before the first fork what every worker needs, and what one for ``job`` does."""
    for module in ("isal.igzip_lib", "isal.isal_zlib", *_MODULES.get(job, ())):
        _import_if_there(module)


def prepare(request: dict[str, object]) -> None:
    """The same for a request, whatever the helper was made ready for: the next of its kind finds it there."""
    preload(str(request["job"]))


def _import_if_there(module: str) -> None:
    try:
        __import__(module)
    except ImportError:
        return


def run(request: dict[str, object], descriptors: list[int]) -> None:
    """Do what ``request`` says and report on the control socket, the first descriptor."""
    gc.disable()
    control = socket.socket(fileno=descriptors[0])
    job = _JOBS[str(request["job"])]
    try:
        result = job(request, control, descriptors[1:])
        control.send(b"R" + json.dumps(result).encode())
    except (Abandoned, BrokenPipeError, ConnectionResetError):
        return
    except BaseException as error:
        control.send(b"X" + json.dumps(_describe(error)).encode())


def _describe(error: BaseException) -> dict[str, object]:
    kind = next((base.__name__ for base in type(error).__mro__ if base.__name__ in errors.__dict__), "")
    return {
        "kind": kind,
        "message": str(error) or type(error).__name__,
        "hint": getattr(error, "hint", ""),
        "errno": getattr(error, "errno", None) or 0,
    }


def _unpack(request: dict[str, object], control: socket.socket, descriptors: list[int]) -> dict[str, object]:
    """A layer becomes a directory. See unpack.py."""
    from onggi.drivers.unpack import unpack

    return unpack(request, control, descriptors)


def _keep(request: dict[str, object], control: socket.socket, descriptors: list[int]) -> dict[str, object]:
    """A layer stays a tar, with an index. See keep.py."""
    from onggi.drivers.keep import keep

    return keep(request, control, descriptors)


def _align(request: dict[str, object], control: socket.socket, descriptors: list[int]) -> dict[str, object]:
    """A layer's contents on blocks of 4 KiB, with an index. See align.py."""
    from onggi.drivers.align import align

    return align(request, control, descriptors)


def _hash_only(
    request: dict[str, object], control: socket.socket, descriptors: list[int]
) -> dict[str, object]:
    """No files: which diffID has this blob? Asked when the layer itself is there already."""
    from onggi.drivers.stream import Follower, Stream

    stream = Stream(Follower(control, descriptors[0]))
    for _ in stream:
        pass
    stream.finish()
    return {"diff_id": stream.diff_id, "size": 0, "members": 0}


def _check(request: dict[str, object], control: socket.socket, descriptors: list[int]) -> dict[str, object]:
    """Is a layer's directory still what it was made of? See check.py."""
    from onggi.drivers.check import check

    return check(request, control.send, lambda: _is_core_free(control))


def _is_core_free(control: socket.socket) -> bool:
    try:
        return control.recv(len(CORE_FREE), socket.MSG_DONTWAIT) == CORE_FREE
    except BlockingIOError:
        return False


def _prove(request: dict[str, object], control: socket.socket, descriptors: list[int]) -> dict[str, object]:
    """Is a layer that is a tar and an index still what was pulled?"""
    from onggi.drivers.prove import prove

    return prove(request, control.send)


def _prove_aligned(
    request: dict[str, object], control: socket.socket, descriptors: list[int]
) -> dict[str, object]:
    """Is a layer with its contents on blocks of 4 KiB still what was pulled?"""
    from onggi.drivers.prove_aligned import prove_aligned

    return prove_aligned(request, control.send)


def _derive(request: dict[str, object], control: socket.socket, descriptors: list[int]) -> dict[str, object]:
    """What follows from a layer's tar is written anew."""
    from onggi.drivers.rederive import rederive

    return rederive(request)


def _derive_aligned(
    request: dict[str, object], control: socket.socket, descriptors: list[int]
) -> dict[str, object]:
    """The index of a layer with its contents on blocks of 4 KiB is written anew."""
    from onggi.drivers.rederive_aligned import rederive_aligned

    return rederive_aligned(request)


_JOBS: dict[str, Callable[[dict[str, object], socket.socket, list[int]], dict[str, object]]] = {
    "unpack": _unpack,
    "keep": _keep,
    "align": _align,
    "hash": _hash_only,
    "check": _check,
    "prove": _prove,
    "prove-aligned": _prove_aligned,
    "derive": _derive,
    "derive-aligned": _derive_aligned,
}


_MODULES = {
    "unpack": ("onggi.drivers.unpack",),
    "hash": ("onggi.drivers.stream",),
    "check": ("onggi.drivers.check", "onggi.tree.compare", "onggi.tree.expected", "isal.igzip"),
    "keep": ("onggi.drivers.keep", "fastcrc.crc32"),
    "align": ("onggi.drivers.align", "fastcrc.crc32", "isal.igzip"),
    "prove": ("onggi.drivers.prove", "fastcrc.crc32"),
    "prove-aligned": ("onggi.drivers.prove_aligned", "fastcrc.crc32", "isal.igzip"),
    "derive": ("onggi.drivers.rederive", "fastcrc.crc32"),
    "derive-aligned": ("onggi.drivers.rederive_aligned", "fastcrc.crc32", "isal.igzip"),
}

"""What is inside an image: its layers as one tree, without a container and without a mount."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from onggi.engine.core import Core
from onggi.engine.layer import LayerNotFound, opened_layers
from onggi.engine.names import ImageNotFound
from onggi.errors import InvalidArgument, NotFound, OnggiError
from onggi.oci.digest import ChainID
from onggi.oci.image_config import HistoryEntry, ImageConfig
from onggi.record import record
from onggi.store.layerdb import CorruptLayer
from onggi.tree.copy_out import copy_entry, write_tar
from onggi.tree.merged import Entry, Merged
from onggi.tree.whiteout import is_whiteout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from onggi.tree.layer_tree import LayerTree
    from onggi.tree.waste import Waste

__all__ = ["Holder", "ImageContents", "ImageEntry", "NotInImage", "PathExplanation", "WrongKind"]

_BUFFER_BYTES = 1 << 16
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


class NotInImage(NotFound):
    """The image has no such path; Docker's words for a container."""

    def __init__(self, image: str, path: bytes, hint: str = "") -> None:
        shown = _shown(path)
        super().__init__(
            f"Could not find the file {shown} in image {image}",
            hint=hint or f"'onggi explain {image}:{shown}' tells whether a layer has it or deletes it",
        )


class WrongKind(InvalidArgument):
    """The path is there, but not what it has to be."""

    def __init__(self, image: str, path: bytes, what: str, hint: str) -> None:
        super().__init__(f"{image}:{_shown(path)}: {what}", hint=hint)


@record
class ImageEntry:
    """A path of the image. ``layer`` counts from 1 at the base: the layer whose file it is.

    ``status`` is ``lstat``'s; ``target`` that of a symbolic link, else empty.
    """

    path: bytes
    layer: int
    status: os.stat_result
    target: bytes

    @property
    def kind(self) -> str:
        """``file``, ``directory``, ``symbolic link``, …"""
        return _KINDS.get(stat.S_IFMT(self.status.st_mode), "unknown")


@record
class Holder:
    """One layer's word on a path: ``kind`` as of an entry, ``whiteout``, or ``opaque directory``.

    ``layer`` counts from 1 at the base. ``wins``: what the image shows is this layer's.
    ``hidden_by`` is the layer that hides it, or None.
    """

    layer: int
    kind: str
    size: int
    wins: bool
    hidden_by: int | None
    history: HistoryEntry | None


@record
class PathExplanation:
    """``place`` is the path with the links of its directories followed. ``holders``: top layer first."""

    path: bytes
    place: bytes
    winner: int | None
    target: bytes
    holders: tuple[Holder, ...]


class ImageContents:
    """``image.contents``; ``name`` is what errors call the image."""

    def __init__(self, core: Core, config: ImageConfig, name: str) -> None:
        self._core = core
        self._config = config
        self._name = name

    # --- looking --------------------------------------------------------------------------

    def walk(self, path: str | bytes = b"/") -> Iterator[ImageEntry]:
        """The entry at ``path`` and everything below it; a link named itself is not followed.

        A directory comes before what it holds, siblings are sorted bytewise. Raises NotInImage.
        """
        with self._opened() as (view, numbers):
            with self._translated(path):
                top = view.resolve(_absolute(path), follow=False)
            for entry in view.walk(top):
                yield _image_entry(view, numbers, entry)

    def list(self, path: str | bytes = b"/") -> Iterator[ImageEntry]:
        """The entries of a directory, or the one that ``path`` is. Raises NotInImage."""
        with self._opened() as (view, numbers):
            with self._translated(path):
                top = view.resolve(_absolute(path))
            entries = list(view.listing(top).values()) if top.is_directory else [top]
            for entry in entries:
                yield _image_entry(view, numbers, entry)

    def open(self, path: str | bytes) -> BinaryIO:
        """A file of the image, links followed inside it; the caller closes it.

        Raises NotInImage, WrongKind.
        """
        with self._opened() as (view, _), self._translated(path):
            return io.BufferedReader(view.open(view.resolve(_absolute(path))), _BUFFER_BYTES)

    def explain(self, path: str | bytes) -> PathExplanation:
        """Which layers hold a path, and which one wins. Raises NotInImage when none ever did."""
        with self._opened() as (view, numbers):
            place = view.place(_absolute(path))
            found = _lookup(view, place)
            holders = list(_holders(place, numbers, self._config.layer_history(), found))
            while holders and holders[-1].kind == "whiteout":
                holders.pop()  # it deletes what nobody below has
            if not holders:
                raise NotInImage(self._name, os.fsencode(path), "none of its layers ever had it")
            return PathExplanation(
                _absolute(path),
                place,
                None if found is None else numbers[found.layers[0]],
                view.readlink(found) if found is not None and found.is_link else b"",
                tuple(holders),
            )

    def waste(self, paths: int = 20) -> Waste:
        """What each layer adds, changes, removes, and makes useless; the ``paths`` worst."""
        from onggi.tree.waste import measure_waste

        with self._opened() as (_, numbers):
            return measure_waste(sorted(numbers, key=numbers.__getitem__), paths=paths)

    # --- copying --------------------------------------------------------------------------

    def copy_out(self, path: str | bytes, target: str, *, follow: bool = False, archive: bool = False) -> int:
        """Copy a path to the host by the rules of ``docker cp``; gives the bytes copied.

        An existing directory ``target`` gets it under its own name (``path`` ending in ``/.``: its
        content); otherwise ``target`` becomes it, and its parent must exist. A link is copied as
        a link unless ``follow``. ``archive`` keeps owners, which needs root.

        Raises NotInImage, WrongKind, CopyConflict, OSError.
        """
        with self._opened() as (view, _):
            top = self._source(view, path, follow)
            contents = os.fsencode(path).endswith(b"/.")
            parent, name, inside = _destination(top, os.fsencode(target), _base_name(path), contents)
            try:
                fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise _no_directory(target) from None
            try:
                return copy_entry(view, top, fd, name, keep_owner=archive, contents=inside)
            finally:
                os.close(fd)

    def write_tar(self, path: str | bytes, out: BinaryIO, *, follow: bool = False) -> int:
        """Write a path and all below it to ``out`` as a tar stream, as ``docker cp … -`` does."""
        with self._opened() as (view, _):
            top = self._source(view, path, follow)
            return write_tar(view, top, _base_name(path), out)

    def _source(self, view: Merged, path: str | bytes, follow: bool) -> Entry:
        with self._translated(path):
            return view.resolve(_absolute(path), follow=follow)

    # --- beneath --------------------------------------------------------------------------

    @contextmanager
    def _opened(self) -> Iterator[tuple[Merged, dict[LayerTree, int]]]:
        """The view, and the number of each layer (1: the base)."""
        chains = self._config.chain_ids[::-1]
        with ExitStack() as stack:
            try:
                trees = stack.enter_context(opened_layers(self._core, chains))
            except LayerNotFound:
                raise self._gone(chains[0]) from None
            order = [trees[chain] for chain in chains]
            yield Merged(order), {tree: len(order) - index for index, tree in enumerate(order)}

    def _gone(self, chain: ChainID) -> OnggiError:
        """Removed since it was looked up; or damaged, when the image is still here."""
        if self._config.id not in self._core.images:
            return ImageNotFound(self._name)
        return CorruptLayer(self._core.layers.db.path(chain), "it, or a layer below it, does not exist")

    @contextmanager
    def _translated(self, path: str | bytes) -> Iterator[None]:
        """Turn errors of a look-up into those of an image."""
        shown = os.fsencode(path)
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise NotInImage(self._name, shown) from None
            if error.errno == errno.ELOOP:
                raise WrongKind(self._name, shown, "too many levels of symbolic links", "") from None
            if error.errno == errno.EISDIR:
                hint = f"'onggi image files {self._name} {_shown(shown)}' lists it"
                raise WrongKind(self._name, shown, "is a directory", hint) from None
            if error.errno == errno.EINVAL:
                raise WrongKind(self._name, shown, "not a regular file", "it has no content") from None
            raise


def _shown(path: bytes) -> str:
    return os.fsdecode(path if path.startswith(b"/") else b"/" + path)


def _absolute(path: str | bytes) -> bytes:
    return b"/" + os.fsencode(path).lstrip(b"/")


def _base_name(path: str | bytes) -> bytes:
    """The last component as it was named: ``.`` for the root and what ends in ``/.``."""
    name = os.fsencode(path).rstrip(b"/").rpartition(b"/")[2]
    return b"." if name in (b"", b"..") else name


def _image_entry(view: Merged, numbers: dict[LayerTree, int], entry: Entry) -> ImageEntry:
    target = view.readlink(entry) if entry.is_link else b""
    return ImageEntry(entry.path, numbers[entry.layers[0]], entry.status, target)


# --- where a copy goes ------------------------------------------------------------------------


def _destination(top: Entry, target: bytes, name: bytes, contents: bool) -> tuple[bytes, bytes, bool]:
    """Directory, name in it, and whether that is a directory of the host's to be filled (docker cp)."""
    plain = target.rstrip(b"/") or b"/"
    if os.path.islink(plain):
        plain = os.path.realpath(plain)
    if os.path.isdir(target):
        if contents or name == b".":
            return target, b".", True
        return target, name, False
    if os.path.lexists(plain) and top.is_directory:
        raise InvalidArgument(
            f"copy to {os.fsdecode(target)}: cannot copy directory", hint="a file is there; name a directory"
        )
    if target.endswith(b"/") and not top.is_directory:
        raise _no_directory(os.fsdecode(target))
    parent, _, last = plain.rpartition(b"/")
    return parent or (b"/" if plain.startswith(b"/") else b"."), last, False


def _no_directory(target: str) -> NotFound:
    return NotFound(f"copy to {target}: the destination directory must exist", hint="make it first: mkdir -p")


# --- which layer has a path -------------------------------------------------------------------


def _lookup(view: Merged, place: bytes) -> Entry | None:
    try:
        return view.resolve(place, follow=False)
    except OSError:
        return None


def _holders(
    place: bytes,
    numbers: dict[LayerTree, int],
    history: tuple[HistoryEntry | None, ...],
    found: Entry | None,
) -> Iterator[Holder]:
    """Each layer that has something at ``place`` or deletes it, top first."""
    hidden_by: int | None = None
    for tree, number in numbers.items():
        word = _word(tree, place)
        if word is None:
            continue
        kind, size, hides = word
        wins = found is not None and found.layers[0] is tree
        merged = found is not None and tree in found.layers
        hider = None if merged or kind == "whiteout" else hidden_by
        yield Holder(number, kind, size, wins, hider, history[number - 1])
        if hides and hidden_by is None:
            hidden_by = number


def _word(layer: LayerTree, place: bytes) -> tuple[str, int, bool] | None:
    """What one layer says of a path: kind, size, and whether it hides what is below.

    A whiteout, or anything in the place of a directory on the way, is the word ``whiteout``.
    """
    parts = place.split(b"/") if place else []
    reached = b""
    opaque = itself = False
    for index, part in enumerate(parts):
        status = layer.lstat(reached, part)
        if status is None:
            return ("whiteout", 0, True) if opaque else None
        if is_whiteout(status):
            return "whiteout", 0, True
        if not stat.S_ISDIR(status.st_mode):
            last = index == len(parts) - 1
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "unknown") if last else "whiteout"
            return kind, status.st_size if last else 0, True
        itself = layer.is_opaque(reached, part)
        opaque |= itself
        reached = reached + b"/" + part if reached else part
    return "opaque directory" if itself else "directory", 0, opaque

"""Layers by chainID, as Docker's layer store keeps them.

``layerdb/sha256/<chain>/`` holds ``diff`` (diffID), ``parent`` (chainID; absent at the
base), ``size`` (decimal, strictly no newline), ``cache-id`` (the driver's directory) and
``tar-split.json.gz``. The rename of that directory into place is the moment a layer
exists (docker-engine §4.4, §4.5). ``layerdb/mounts/<container>/parent`` names the chain
a container stands on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from onggi.errors import DataLoss, InvalidArgument
from onggi.oci.digest import CacheID, ChainID, DiffID, chain_id
from onggi.record import record
from onggi.store.atomic import make_directory, read_optional, stage_file, sync_directory

__all__ = ["CorruptLayer", "LayerDB", "LayerRecord", "TAR_SPLIT", "is_cache_id"]

TAR_SPLIT = "tar-split.json.gz"

_CHAIN_NAME = re.compile(r"[0-9a-f]{64}")
# Docker's random names, and those that BuildKit gives to the layers it makes.
_CACHE_ID = re.compile(r"[0-9a-f]{64}|[0-9a-z]{25}")
_REMOVING = r"([0-9a-f]{64})-[0-9a-f]{64}-removing"
_SIZE = r"[+-]?[0-9]{1,19}"


class CorruptLayer(DataLoss):
    """A layerdb entry that cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"read layer {path}: {reason}",
            hint="pull the image again after removing it: the layer is then made anew",
        )
        self.path = path


def is_cache_id(text: str) -> bool:
    """True for what can be the name of a layer's directory in the driver."""
    return _CACHE_ID.fullmatch(text) is not None


@record
class LayerRecord:
    """One layer: what ``layerdb`` says of it. ``size`` is bytes of non-directories (lstat)."""

    chain_id: ChainID
    diff_id: DiffID
    parent: ChainID | None
    cache_id: CacheID
    size: int

    def files(self) -> dict[str, bytes]:
        """The record as the files of its directory, in Docker's order of writing."""
        files = {"diff": self.diff_id, "size": str(self.size), "cache-id": self.cache_id}
        if self.parent is not None:
            files["parent"] = self.parent
        return {name: text.encode("ascii") for name, text in files.items()}


class LayerDB:
    """The directories under ``layerdb/``."""

    def __init__(self, directory: Path) -> None:
        self._root = directory
        self._sha256 = directory / "sha256"
        self._mounts = directory / "mounts"

    def path(self, chain: ChainID) -> Path:
        """The directory of a layer."""
        return self._sha256 / chain.hex

    def __contains__(self, chain: ChainID) -> bool:
        return self.path(chain).is_dir()

    def chains(self) -> list[ChainID]:
        """Every directory that is named like a chainID, sorted."""
        return sorted(ChainID(f"sha256:{name}") for name in self._names() if _CHAIN_NAME.fullmatch(name))

    def get(self, chain: ChainID) -> LayerRecord | None:
        """The record, or None if there is no such layer. Raises CorruptLayer.

        The files are read one after the other, and the directory may come, go or be exchanged in
        between: what is wrong counts only if it was so in one and the same directory.
        """
        try:
            return self._read(chain)
        except CorruptLayer:
            pass
        while (before := _identity(self.path(chain))) is not None:
            try:
                return self._read(chain)
            except CorruptLayer:
                if _identity(self.path(chain)) == before:
                    raise
        return None

    def _read(self, chain: ChainID) -> LayerRecord | None:
        path = self.path(chain)
        diff = read_optional(path / "diff")
        if diff is None:
            if path.is_dir():
                raise CorruptLayer(path, "the file diff is missing")
            return None
        try:
            return self._parse(chain, path, diff)
        except (InvalidArgument, UnicodeDecodeError, ValueError) as error:
            raise CorruptLayer(path, str(error)) from error

    def _parse(self, chain: ChainID, path: Path, diff: bytes) -> LayerRecord:
        parent = read_optional(path / "parent")
        cache_id = _text(path / "cache-id").strip()
        size = _text(path / "size")
        if not _CACHE_ID.fullmatch(cache_id):
            raise ValueError(f"cache-id {cache_id!r} is no name that Docker gives")
        if not re.fullmatch(_SIZE, size):
            raise ValueError(f"size {size!r} is not a decimal number")
        record = LayerRecord(
            chain,
            DiffID.parse(diff.decode("ascii").strip()),
            None if parent is None else ChainID.parse(parent.decode("ascii").strip()),
            CacheID(cache_id),
            int(size),
        )
        if chain_id(record.parent, record.diff_id) != chain:
            raise ValueError("diff and parent do not add up to the chainID")
        return record

    def records(self) -> Iterator[LayerRecord]:
        """Every readable layer; broken ones are passed over as dockerd does at start."""
        for chain in self.chains():
            try:
                record = self.get(chain)
            except CorruptLayer:
                continue
            if record is not None:
                yield record

    def write_set(self, directory: Path, record: LayerRecord) -> None:
        """Write a record's files into a staging directory (flushed by the caller)."""
        for name, data in record.files().items():
            stage_file(directory / name, data, 0o644)

    def commit(self, staged: Path, chain: ChainID) -> None:
        """Rename a staged directory into place: the layer exists from here on.

        An entry of a damaged layer changes places with it in one step, so that those who use
        the layer never miss it; ``staged`` is then the old one, for the caller to delete.
        """
        make_directory(self._sha256, 0o755)
        target = self.path(chain)
        if target.is_dir():
            from onggi.linux.filesystem import renameat2_exchange

            renameat2_exchange(os.fsencode(staged), os.fsencode(target))
        else:
            os.rename(staged, target)

    def sync(self) -> None:
        """Make the names of all committed layers durable."""
        sync_directory(self._sha256)

    def prepare(self) -> None:
        """The directories that Docker makes with the first layer."""
        make_directory(self._sha256, 0o755)
        make_directory(self._root / "tmp", 0o755)

    def begin_removal(self, chain: ChainID) -> Path:
        """Rename a layer out of sight; its directory must then be deleted. Returns its new path."""
        removing = self._set_aside(chain)
        sync_directory(self._sha256)
        return removing

    def _set_aside(self, chain: ChainID) -> Path:
        target = self._sha256 / f"{chain.hex}-{os.urandom(32).hex()}-removing"
        os.rename(self.path(chain), target)
        return target

    def removals(self) -> list[Path]:
        """Layers whose removal was interrupted."""
        return [self._sha256 / name for name in self._names() if re.fullmatch(_REMOVING, name)]

    def containers(self) -> dict[str, ChainID]:
        """Container id → the chain its writable layer stands on."""
        found = {}
        for name in _listdir(self._mounts):
            parent = read_optional(self._mounts / name / "parent")
            if parent is not None:
                found[name] = ChainID(parent.decode("ascii", "replace").strip())
        return found

    def container_cache_ids(self) -> set[str]:
        """Driver directories that belong to containers, their ``-init`` layers included."""
        ids: set[str] = set()
        for name in _listdir(self._mounts):
            for file in ("mount-id", "init-id"):
                data = read_optional(self._mounts / name / file)
                if data is not None:
                    ids.add(data.decode("ascii", "replace").strip())
        return ids

    def _names(self) -> list[str]:
        return _listdir(self._sha256)


def _listdir(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _identity(path: Path) -> tuple[int, int] | None:
    """Which directory it is; a later one may get the inode of one that is gone, not its time."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_mtime_ns


def _text(path: Path) -> str:
    data = read_optional(path)
    if data is None:
        raise ValueError(f"the file {path.name} is missing")
    return data.decode("ascii")

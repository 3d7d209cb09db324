"""The images of the benchmarks, written straight into the storage of a docker-registry.

::

    docker/registry/v2/blobs/sha256/<ab>/<hex>/data
    docker/registry/v2/repositories/<name>/_layers/sha256/<hex>/link         "sha256:<hex>"
    docker/registry/v2/repositories/<name>/_manifests/revisions/sha256/<hex>/link
    docker/registry/v2/repositories/<name>/_manifests/tags/<tag>/current/link
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "Sizes",
    "Storage",
    "blob_path",
    "copy_storage",
    "tagged_manifest",
    "write_deep",
    "write_large",
    "write_lines",
    "write_small_files",
]

_DOCKER = "application/vnd.docker"
_ROOT = "docker/registry/v2"
_MTIME = 1_700_000_000
# Bytes of one piece of content: half of it random, half text, so that gzip halves it, as in real layers.
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the generated images are."""

    files: int = 60_000
    layers: int = 6
    small_bytes: int = 1_500_000_000
    large_bytes: int = 2_000_000_000


class Storage:
    """A docker-registry's storage directory, written to while no registry runs on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def add(self, repository: str, layers: list[Callable[[tarfile.TarFile], None]]) -> None:
        """Store an image of gzip layers as ``<repository>:latest``; each callable fills one archive."""
        descriptors, diff_ids = [], []
        for fill in layers:
            descriptor, diff_id = self._layer(repository, fill)
            descriptors.append(descriptor)
            diff_ids.append(diff_id)
        config = {
            "architecture": _architecture(),
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "bench"} for _ in diff_ids],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_DOCKER}.distribution.manifest.v2+json",
            "config": self._document(repository, config, f"{_DOCKER}.container.image.v1+json"),
            "layers": descriptors,
        }
        digest = self._document(repository, manifest, str(manifest["mediaType"]))["digest"]
        manifests = self._repository(repository) / "_manifests"
        _link(manifests / "revisions" / digest.replace(":", "/"), digest)
        _link(manifests / "tags/latest/current", digest)
        _link(manifests / "tags/latest/index" / digest.replace(":", "/"), digest)

    def _repository(self, repository: str) -> Path:
        return self.directory / _ROOT / "repositories" / repository

    def _document(self, repository: str, document: object, media_type: str) -> dict[str, Any]:
        data = json.dumps(document).encode()
        temporary = self.directory / "document"
        temporary.write_bytes(data)
        return self._blob(repository, temporary, hashlib.sha256(data).hexdigest(), media_type)

    def _blob(self, repository: str, path: Path, digest: str, media_type: str) -> dict[str, Any]:
        target = self.directory / _ROOT / "blobs/sha256" / digest[:2] / digest
        target.mkdir(parents=True, exist_ok=True)
        size = path.stat().st_size
        path.rename(target / "data")
        _link(self._repository(repository) / "_layers/sha256" / digest, f"sha256:{digest}")
        return {"mediaType": media_type, "size": size, "digest": f"sha256:{digest}"}

    def _layer(self, repository: str, fill: Callable[[tarfile.TarFile], None]) -> tuple[dict[str, Any], str]:
        temporary = self.directory / "layer"
        with open(temporary, "wb") as file:
            out = _Gzip(file)
            with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
                fill(archive)
            out.finish()
        media_type = f"{_DOCKER}.image.rootfs.diff.tar.gzip"
        descriptor = self._blob(repository, temporary, out.compressed.hexdigest(), media_type)
        return descriptor, f"sha256:{out.plain.hexdigest()}"


class _Gzip(io.RawIOBase):
    """Compresses what is written and hashes both sides."""

    def __init__(self, out: io.BufferedWriter) -> None:
        super().__init__()
        self._out = out
        self._gzip = zlib.compressobj(1, zlib.DEFLATED, 31)
        self.plain, self.compressed = hashlib.sha256(), hashlib.sha256()

    def write(self, data: Any, /) -> int:
        self.plain.update(data)
        self._store(self._gzip.compress(data))
        return len(data)

    def finish(self) -> None:
        self._store(self._gzip.flush())

    def _store(self, data: bytes) -> None:
        self.compressed.update(data)
        self._out.write(data)


class _Content:
    """An endless file of which gzip saves half; deterministic."""

    def __init__(self, seed: int, size: int) -> None:
        self._pieces = _pieces(seed)
        self._left = size
        self._rest = b""

    def read(self, amount: int = _PIECE_BYTES, /) -> bytes:
        amount = min(amount, self._left)
        while len(self._rest) < amount:
            self._rest += next(self._pieces)
        data, self._rest = self._rest[:amount], self._rest[amount:]
        self._left -= amount
        return data


def _pieces(seed: int) -> Iterator[bytes]:
    source = random.Random(seed)
    text = b"The quick brown fox jumps over the lazy dog. " * (_PIECE_BYTES // 90)
    while True:
        yield source.randbytes(_PIECE_BYTES // 2) + text


def write_small_files(storage: Storage, repository: str, sizes: Sizes) -> None:
    """Many small files in a few layers, 200 a directory, a tenth of them symbolic links."""
    per_layer = sizes.files // sizes.layers
    mean = sizes.small_bytes // sizes.files
    storage.add(repository, [_small_layer(layer, per_layer, mean) for layer in range(sizes.layers)])


def _small_layer(layer: int, files: int, mean_bytes: int) -> Callable[[tarfile.TarFile], None]:
    def fill(archive: tarfile.TarFile) -> None:
        lengths = random.Random(layer)
        content = _Content(layer, 1 << 62)
        for number in range(files):
            directory = f"usr/layer{layer}/d{number // 200}"
            if number % 200 == 0:
                archive.addfile(_member(directory, tarfile.DIRTYPE))
            if number % 10 == 9:
                archive.addfile(_member(f"{directory}/l{number}", tarfile.SYMTYPE, linkname=f"f{number - 1}"))
            else:
                size = int(lengths.expovariate(0.9 / mean_bytes))
                archive.addfile(_member(f"{directory}/f{number}", tarfile.REGTYPE, size=size), content)

    return fill


def write_large(storage: Storage, repository: str, sizes: Sizes) -> None:
    """One layer of a few very large files."""
    each = sizes.large_bytes // 4

    def fill(archive: tarfile.TarFile) -> None:
        for number in range(4):
            member = _member(f"data{number}", tarfile.REGTYPE, size=each)
            archive.addfile(member, _Content(100 + number, each))

    storage.add(repository, [fill])


def write_deep(storage: Storage, repository: str, layers: int) -> None:
    """One file and one directory a layer."""

    def one(number: int) -> Callable[[tarfile.TarFile], None]:
        def fill(archive: tarfile.TarFile) -> None:
            archive.addfile(_member(f"d{number}", tarfile.DIRTYPE))
            archive.addfile(_member(f"d{number}/f", tarfile.REGTYPE, size=1000), _Content(number, 1000))

        return fill

    storage.add(repository, [one(number) for number in range(layers)])


def write_lines(storage: Storage, repository: str, size_bytes: int) -> None:
    """One text file, ``/lines``."""
    line = b'127.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "GET /index.html HTTP/1.1" 200 615\n'
    text = line * (size_bytes // len(line))

    def fill(archive: tarfile.TarFile) -> None:
        archive.addfile(_member("lines", tarfile.REGTYPE, size=len(text)), io.BytesIO(text))

    storage.add(repository, [fill])


def _member(name: str, kind: bytes, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mtime = kind, _MTIME
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def _link(directory: Path, digest: object) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "link").write_text(str(digest))


def blob_path(storage: Path, digest: str) -> Path:
    """Where a blob lies."""
    algorithm, _, digits = digest.partition(":")
    return storage / _ROOT / "blobs" / algorithm / digits[:2] / digits / "data"


def tagged_manifest(storage: Path, name: str) -> dict[str, Any]:
    """The manifest of ``repository[:tag]``, of an index that of this machine's architecture."""
    repository, _, tag = name.partition(":")
    link = storage / _ROOT / "repositories" / repository / "_manifests/tags" / (tag or "latest")
    document = _document_at(storage, (link / "current/link").read_text())
    for entry in document.get("manifests", ()):
        if entry["platform"]["architecture"] == _architecture():
            return _document_at(storage, entry["digest"])
    return document


def _document_at(storage: Path, digest: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(blob_path(storage, digest.strip()).read_bytes())
    return document


def _architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def copy_storage(source: Path, directory: Path) -> Storage:
    """A copy, so that the original stays as it is."""
    shutil.copytree(source, directory, dirs_exist_ok=True)
    return Storage(directory)

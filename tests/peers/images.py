"""Images made for tests: layers from member lists, written as an OCI layout.

A layer is a list of ``(TarInfo, content)``; :func:`member` makes one. Everything is
deterministic.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["Layout", "member", "odd_layers", "tar"]

_OCI = "application/vnd.oci.image"
MTIME = 1_700_000_000


def member(name: str, content: bytes | None = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A member: a file, or a directory when ``content`` is None; ``fields`` are TarInfo's."""
    info = tarfile.TarInfo(name)
    info.mtime = MTIME
    info.mode = 0o644 if content is not None else 0o755
    if content is None:
        info.type = tarfile.DIRTYPE
    for field, value in fields.items():
        setattr(info, field, value)
    data = content or b""
    info.size = len(data)
    return info, data


def tar(members: Sequence[tuple[tarfile.TarInfo, bytes]], format: int = tarfile.PAX_FORMAT) -> bytes:
    """The archive of some members."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=format, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Layout:
    """Writes an OCI image layout; :meth:`image` returns the manifest's digest."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "blobs/sha256").mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self._entries: list[dict[str, Any]] = []

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Store bytes; returns their descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self.directory / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def layer(self, data: bytes, compression: str = "gzip") -> dict[str, Any]:
        """Store a layer's tar compressed; returns its descriptor."""
        if compression == "gzip":
            return self.blob(gzip.compress(data, 1, mtime=0), f"{_OCI}.layer.v1.tar+gzip")
        if compression == "zstd":
            import zstandard

            return self.blob(zstandard.compress(data), f"{_OCI}.layer.v1.tar+zstd")
        return self.blob(data, f"{_OCI}.layer.v1.tar")

    def manifest(
        self,
        layers: Sequence[bytes],
        *,
        compression: str = "gzip",
        architecture: str = "amd64",
        variant: str = "",
        config: dict[str, Any] | None = None,
        history: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Store config and manifest of an image made of these tars; returns its descriptor."""
        document: dict[str, Any] = {
            "architecture": architecture,
            "config": config or {"Cmd": ["/bin/true"]},
            "created": "2026-01-02T03:04:05.678Z",
            "history": history
            if history is not None
            else [{"created": "2026-01-02T03:04:05Z", "created_by": f"step {n}"} for n in range(len(layers))],
            "os": "linux",
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
            },
        }
        if variant:
            document["variant"] = variant
        stored = self.blob(json.dumps(document).encode(), f"{_OCI}.config.v1+json")
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": stored,
            "layers": [self.layer(layer, compression) for layer in layers],
        }
        return self.blob(json.dumps(manifest).encode(), f"{_OCI}.manifest.v1+json")

    def index(self, entries: Sequence[tuple[dict[str, Any], dict[str, str]]]) -> dict[str, Any]:
        """Store an index over (manifest descriptor, platform) pairs; returns its descriptor."""
        document = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.index.v1+json",
            "manifests": [{**descriptor, "platform": platform} for descriptor, platform in entries],
        }
        return self.blob(json.dumps(document).encode(), f"{_OCI}.index.v1+json")

    def name(self, reference: str, descriptor: dict[str, Any]) -> str:
        """Give a stored document a name (``library/x:1``); returns its digest."""
        self._entries.append(
            {**descriptor, "annotations": {"org.opencontainers.image.ref.name": f"docker.io/{reference}"}}
        )
        index = {"schemaVersion": 2, "manifests": self._entries}
        (self.directory / "index.json").write_text(json.dumps(index))
        return str(descriptor["digest"])

    def image(self, reference: str, layers: Sequence[bytes], **settings: Any) -> str:
        """Store and name an image; returns its manifest digest."""
        return self.name(reference, self.manifest(layers, **settings))


def odd_layers() -> list[bytes]:
    """Two layers with everything a tar can hold that a store can get wrong."""
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00" + b"\x00" * 12
    capable = {"SCHILY.xattr.security.capability": capability.decode("latin-1")}
    base = [
        member("d/", None, mode=0o1777),
        member("d/setuid", b"s", mode=0o4755, uid=12, gid=34),
        member("d/sub/", None, mode=0o2750, gid=7),
        member("d/sub/deep", b"deep", mtime=1_700_000_000.123456789),
        member("link", b"", type=tarfile.LNKTYPE, linkname="d/setuid", mode=0o4755, uid=12, gid=34),
        member("sym", b"", type=tarfile.SYMTYPE, linkname="../../etc/passwd", mode=0o777),
        member("null", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        member("blk", b"", type=tarfile.BLKTYPE, devmajor=7, devminor=300, mode=0o660),
        member("fifo", b"", type=tarfile.FIFOTYPE),
        member("caps", b"c", mode=0o755, pax_headers=capable),
        member("bad\udcff\udcfe", b"n"),
        member("한글", b"k"),
        member("x" * 120 + "/" + "y" * 200, b"long"),
        member("../escape", b"e"),
        member("/absolute", b"a"),
        member("huge-ids", b"h", uid=3_000_000, gid=4_000_000),
        member("old", b"", mtime=-5),
        member("gone", b"g"),
        member("opaque/", None),
        member("opaque/hidden", b"h"),
    ]
    upper = [
        member(".wh.gone"),
        member("opaque/", None, mode=0o700),
        member("opaque/.wh..wh..opq"),
        member("opaque/new", b"n"),
        member("d/sub/.wh.deep", b"", uid=5, gid=6),
        member("implied/parent/file", b"i"),
    ]
    return [tar(base), tar(upper)]

"""Images that mean harm: layers as lists of tars, manifests as documents. docs/hostile-input.md lists them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.archive import tar_blocks
from tests.archive.tar_blocks import END, directory, header, pax, xattr
from tests.registry.registry import MANIFEST, FakeRegistry, digest_of

__all__ = ["STRICTER_LAYERS", "STRICTER_MANIFESTS", "hostile_layers", "hostile_manifests"]

# Case → why Onggi does not do as dockerd does. docs/hostile-input.md marks the same ones "stricter".
STRICTER_LAYERS = {
    "attributes of overlayfs": "left out: they would steer the kernel's overlay driver",
    "a flood of PAX headers": "refused: memory that nobody needs",
    "a flood of attributes": "refused: more than a file can have",
}
STRICTER_MANIFESTS = {
    "a foreign layer": "refused: its bytes are meant to come from elsewhere, by a licence",
    "a manifest of five megabytes": "refused: the specification's limit is 4 MiB",
    "a config of sixteen megabytes": "refused: 8 MiB are more than any real one has",
    "a negative size": "refused: it says nothing of how much to receive",
    "a size too small": "refused: the size is part of the descriptor, and stops an endless blob early",
    "a size too large": "refused: the blob is not the one that was described",
    "a key given twice": "refused: two readers could see two images",
}

_UP = b"../" * 40


def member(name: bytes, data: bytes = b"", **fields: Any) -> bytes:
    """A member; a long name goes into an extended header."""
    return _long(name) + tar_blocks.member(name, data, **fields)


def symlink(name: bytes, target: bytes) -> bytes:
    return _long(name, target) + tar_blocks.symlink(name, target)


def link(name: bytes, target: bytes, **fields: Any) -> bytes:
    return _long(name, target) + tar_blocks.link(name, target, **fields)


def _long(name: bytes, target: bytes = b"") -> bytes:
    records = {b"path": name, b"linkpath": target}
    long = {key: value for key, value in records.items() if len(value) > 100}
    return pax(long) if long else b""


def hostile_layers(outside: bytes) -> dict[str, list[bytes]]:
    """Case → tars, base first. ``outside`` is the absolute path of a directory with a file ``secret``."""
    cases = _roots(outside) | _links(outside) | _names(outside) | _whiteouts(outside) | _orders() | _floods()
    return {name: [layer if layer.endswith(END) else layer + END for layer in cases[name]] for name in cases}


def _roots(outside: bytes) -> dict[str, list[bytes]]:
    return {
        "the root is a link": [symlink(b".", outside) + member(b"evil", b"1")],
        "the root is a link, with a slash": [symlink(b"./", outside) + member(b"./evil", b"1")],
        "the root / is a link": [symlink(b"/", outside) + member(b"/evil", b"1")],
        "the root is a link of a lower layer": [symlink(b".", outside), member(b"evil", b"1")],
        "the root is a file": [member(b"/", b"1")],
    }


def _links(outside: bytes) -> dict[str, list[bytes]]:
    secret = outside + b"/secret"
    absolute = symlink(b"s", outside)
    return {
        "a file through a link": [absolute + member(b"s/evil", b"1")],
        "a file through a link upwards": [symlink(b"s", _UP + outside[1:]) + member(b"s/evil", b"1")],
        "a file through a chain of links": [_chain(outside)],
        "a file through a link of a lower layer": [absolute, member(b"s/evil", b"1")],
        "a file over a link": [symlink(b"s", secret) + member(b"../s", b"1")],
        "a directory becomes a link": [
            directory(b"d/") + member(b"d/f", b"1") + symlink(b"../d", outside) + member(b"d/evil", b"1")
        ],
        "a link becomes a directory": [absolute + directory(b"../s") + member(b"s/evil", b"1")],
        "a link becomes a directory in another layer": [absolute, directory(b"s") + member(b"s/evil", b"1")],
        "a mode through a link": [
            symlink(b"s", secret) + link(b"h", b"s", mode=0o777, uid=7) + directory(b"../s", mode=0o777)
        ],
        "a hard link to a file outside": [link(b"h", secret)],
        "a hard link upwards": [link(b"h", _UP + secret[1:])],
        "a hard link from the working directory": [link(b"h", b"pyproject.toml") + link(b"i", b"etc/passwd")],
        "a hard link through a link": [absolute + link(b"h", b"s/secret", mode=0o777)],
        "a hard link in place of a link": [absolute + link(b"s/evil", b"s")],
        "a hard link into a lower layer": [member(b"a", b"1"), link(b"h", b"a")],
        "a link whose real path is too long": [_beyond_path_max(outside)],
        "a device in place of a link": [symlink(b"s", secret) + member(b"../s", kind=b"3", device=(1, 3))],
    }


def _chain(outside: bytes) -> bytes:
    """Each link one step up from where the one before seems to lead."""
    links = directory(b"d/") + directory(b"d/e/") + symlink(b"a", b"d/e") + symlink(b"a/b", b"../..")
    links += symlink(b"c", b"a/b/../..") + symlink(b"f", b"c/.." + outside)
    return links + member(b"f/evil", b"1") + member(b"c/evil", b"2")


def _beyond_path_max(outside: bytes) -> bytes:
    """CVE-2025-4517: a name whose resolved path is longer than PATH_MAX, so that checks give up."""
    long, data, path = b"d" * 247, b"", b""
    for letter in b"abcdefghijklmnop":
        step = bytes([letter])
        data += pax({b"path": path + long}) + directory(b"x/")
        data += pax({b"path": path + step, b"linkpath": long}) + tar_blocks.symlink(b"x", b"y")
        path += long + b"/"
    way = b"/".join(bytes([letter]) for letter in b"abcdefghijklmnop") + b"/" + b"l" * 254
    data += symlink(way, b"../" * 16) + symlink(b"escape", way + b"/../../../.." + outside)
    return data + link(b"flag", b"escape/secret") + member(b"flag", b"1") + member(b"escape/evil", b"1")


def _names(outside: bytes) -> dict[str, list[bytes]]:
    return {
        "an absolute name": [member(outside + b"/evil", b"1")],
        "a name upwards": [member(_UP + outside[1:] + b"/evil", b"1")],
        "a name down and up": [directory(b"d/") + member(b"d/../" + _UP + outside[1:] + b"/evil", b"1")],
        "backslashes": [member(b"..\\..\\evil", b"1") + member(b"C:\\evil", b"1") + symlink(b"l", b"..\\..")],
        "an absolute PAX name": [pax({b"path": outside + b"/evil"}) + member(b"harmless", b"1")],
        "the same name twice": [member(b"a", b"1") + member(b"a", b"2")],
        "dots and nothing": [member(b"", b"1") + member(b"..", b"1") + directory(b"../..")],
    }


def _whiteouts(outside: bytes) -> dict[str, list[bytes]]:
    absolute = symlink(b"s", outside)
    return {
        "a whiteout through a link": [absolute + member(b"s/.wh.secret")],
        "a whiteout through a link of a lower layer": [absolute, member(b"s/.wh.secret")],
        "a whiteout upwards": [member(_UP + outside[1:] + b"/.wh.secret")],
        "an opaque mark through a link": [absolute + member(b"s/.wh..wh..opq")],
        "a whiteout of dots": [member(b".wh...") + member(b"d/.wh..")],
        "attributes of overlayfs": [
            xattr(b"trusted.overlay.redirect", b"/etc")
            + directory(b"d/")
            + xattr(b"trusted.overlay.opaque", b"y")
            + directory(b"e/")
        ],
        "a whiteout device": [member(b"gone", kind=b"3", device=(0, 0))],
    }


def _orders() -> dict[str, list[bytes]]:
    base = directory(b"d/") + member(b"d/f", b"1") + member(b"g", b"2")
    return {
        "a whiteout before its target": [base, member(b".wh.g") + member(b"g", b"3")],
        "a whiteout after its target": [base, member(b"g", b"3") + member(b".wh.g")],
        "a plain directory, then an opaque one": [base, directory(b"d/") + member(b"d/.wh..wh..opq")],
        "an opaque mark after the entries": [
            base,
            directory(b"d/") + member(b"d/n", b"3") + member(b"d/.wh..wh..opq") + member(b"d/m", b"4"),
        ],
        "an entry beneath a file": [base, member(b"g/x", b"3") + member(b"d/f/y", b"4")],
        "an entry beneath a file of its layer": [member(b"g", b"1") + member(b"g/x", b"2")],
        "a hard link whose target goes later": [
            member(b"a", b"1") + link(b"h", b"a"),
            member(b".wh.a"),
            member(b"h", b"2"),
        ],
        "a whiteout stored as a hard link": [base, member(b"n", b"") + link(b".wh.g", b"n")],
        "a link for a file and a file for a link": [
            member(b"a", b"1") + symlink(b"b", b"a"),
            symlink(b"a", b"b") + member(b"b", b"2"),
        ],
        "a file for a directory and back": [
            base,
            member(b"d", b"3"),
            directory(b"d/") + member(b"d/n", b"4"),
        ],
    }


def _floods() -> dict[str, list[bytes]]:
    attributes = {b"SCHILY.xattr.user.%06d" % number: b"" for number in range(6000)}
    comments = pax({b"comment": b"x" * 500_000})
    return {
        "thirty megabytes of zeros": [member(b"zeros", bytes(30 << 20))],
        "a flood of PAX headers": [comments * 20 + member(b"f", b"1")],
        "a PAX header of two megabytes": [pax({b"comment": b"x" * (2 << 20)}) + member(b"f", b"1")],
        "a flood of attributes": [pax(attributes) + member(b"f", b"1")],
        "junk": [b"junk" * 1000],
        "a cut archive": [member(b"f", bytes(9000))[:4000]],
        "a size that is not there": [header(b"f", size=2**40)],
        "a negative size": [header(b"f", size=-1) + member(b"g", b"1")],
        "an unknown type": [member(b"f", b"1", kind=b"Z")],
    }


# --- manifests ----------------------------------------------------------------------------------

_INDEX = "application/vnd.oci.image.index.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
_SCHEMA_2 = "application/vnd.docker.distribution.manifest.v2+json"
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


@dataclass
class Parts:
    """A sound image of one file; a case spoils it before it is published under its tag."""

    registry: FakeRegistry
    config: dict[str, Any]
    manifest: dict[str, Any]
    media_type: str = MANIFEST
    config_raw: bytes | None = None
    raw: bytes | None = None

    @property
    def layer(self) -> dict[str, Any]:
        found: dict[str, Any] = self.manifest["layers"][0]
        return found

    def publish(self, tag: str) -> None:
        """Store config and manifest, whatever they have become."""
        raw = json.dumps(self.config).encode() if self.config_raw is None else self.config_raw
        digest = self.registry.add_blob(raw)
        self.manifest["config"] = {"digest": digest, "size": len(raw)} | self.manifest["config"]
        document = json.dumps(self.manifest).encode() if self.raw is None else self.raw
        self.registry.add_manifest("hostile/image", tag, document, self.media_type)


def sound(registry: FakeRegistry, seed: str) -> Parts:
    """The parts; ``seed`` makes the layer one of its own."""
    layer = member(b"f", seed.encode()) + END
    blob = gzip.compress(layer, mtime=0)
    registry.add_blob(blob)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
    }
    descriptor = {"mediaType": _LAYER, "digest": digest_of(blob), "size": len(blob)}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json"},
        "layers": [descriptor],
    }
    return Parts(registry, config, manifest)


Spoil = Callable[[Parts], object]


def _set(where: Callable[[Parts], dict[str, Any]], **values: Any) -> Spoil:
    return lambda parts: where(parts).update(values)


def _layer(**values: Any) -> Spoil:
    return _set(lambda parts: parts.layer, **values)


def _document(**values: Any) -> Spoil:
    return _set(lambda parts: parts.manifest, **values)


def _config(**values: Any) -> Spoil:
    return _set(lambda parts: parts.config, **values)


def _part(name: str, value: Any) -> Spoil:
    return lambda parts: setattr(parts, name, value)


def _more_blob(parts: Parts) -> None:
    parts.registry.blobs[parts.layer["digest"]] += b"more"


def _other_blob(parts: Parts) -> None:
    data = parts.registry.blobs[parts.layer["digest"]]
    parts.registry.blobs[parts.layer["digest"]] = bytes(len(data))


def _empty_blob(parts: Parts) -> None:
    parts.registry.blobs[parts.layer["digest"]] = b""


def _no_blob(parts: Parts) -> None:
    del parts.registry.blobs[parts.layer["digest"]]


def _bomb(parts: Parts) -> None:
    """A config of 16 MiB that gzip would make small, and JSON does not refuse."""
    parts.config_raw = json.dumps(parts.config).encode()[:-1] + b" " * (16 << 20) + b"}"


def _diff_ids(*digests: str) -> Spoil:
    return lambda parts: parts.config["rootfs"].update(diff_ids=list(digests))


def hostile_manifests() -> dict[str, Spoil]:
    """Case → what it does to a sound image."""
    digest = "sha256:" + "0" * 64
    entry = {
        "mediaType": MANIFEST,
        "digest": digest,
        "size": 1,
        "platform": {"os": "linux", "architecture": "x"},
    }
    paths = {
        "a digest that is a path": "sha256:../../../../../../etc/passwd",
        "a digest upwards": "../../../../secret",
        "a digest in capitals": "sha256:" + "A" * 64,
        "a short digest": "sha256:00",
        "a digest of an unknown kind": "md5:" + "0" * 32,
    }
    return {
        "sound": lambda parts: None,
        "both layers and manifests": _document(manifests=[entry]),
        "an index with layers": lambda parts: (
            _document(manifests=[entry], mediaType=_INDEX)(parts),
            _part("media_type", _INDEX)(parts),
        ),
        "a media type that is not the header's": _document(mediaType=_INDEX),
        "a manifest served as an index": _part("media_type", _INDEX),
        "a foreign layer": _layer(mediaType=_FOREIGN, urls=["http://127.0.0.1:1/layer"]),
        "schema 1": lambda parts: (
            _part("media_type", _SCHEMA_1)(parts),
            _part("raw", b'{"schemaVersion": 1, "name": "hostile/image", "tag": "x", "fsLayers": []}')(parts),
        ),
        "a manifest of five megabytes": _document(annotations={"x": "y" * (5 << 20)}),
        "a config of sixteen megabytes": _bomb,
        "a config that is no JSON": _part("config_raw", b"\x7fELF"),
        "a config of another system": _config(os="windows"),
        "no diffIDs": _diff_ids(),
        "another diffID": _diff_ids(digest),
        "a diffID that is a path": _diff_ids("sha256:../../../../etc/passwd"),
        "a negative size": _layer(size=-1),
        "a size beyond 64 bits": _layer(size=2**80),
        "a size too small": lambda parts: parts.layer.update(size=parts.layer["size"] - 1),
        "a size too large": lambda parts: parts.layer.update(size=parts.layer["size"] + 1),
        "a blob with more behind it": _more_blob,
        "a blob of other bytes": _other_blob,
        "an empty blob": _empty_blob,
        "a missing blob": _no_blob,
        "no JSON": _part("raw", b"<html>login</html>"),
        "an empty manifest": _part("raw", b""),
        "a key given twice": lambda parts: _twice(parts),
    } | {name: _layer(digest=value) for name, value in paths.items()}


def _twice(parts: Parts) -> None:
    """What one parser takes from the first key and another from the last."""
    layers = json.dumps(parts.manifest["layers"])
    raw = json.dumps(parts.config).encode()
    config = json.dumps(
        {"mediaType": parts.manifest["config"]["mediaType"], "digest": digest_of(raw), "size": len(raw)}
    )
    text = f'{{"schemaVersion": 2, "mediaType": "{MANIFEST}", "config": {config}, "layers": [], "layers": {layers}}}'
    parts.raw = text.encode()


def names(cases: Sequence[str]) -> list[str]:
    """Image names for cases: lower case, words joined."""
    return ["-".join("".join(c if c.isalnum() else " " for c in case.lower()).split()) for case in cases]

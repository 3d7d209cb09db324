"""The images that are pulled and removed here: small, every directory named, whiteouts, partial blobs."""

from __future__ import annotations

import json
import random
import tarfile
from pathlib import Path

from onggi.oci.digest import DiffID, chain_ids
from tests.peers.images import Layout, member, tar

__all__ = [
    "APP",
    "BUSYBOX",
    "DEEP",
    "MIXED",
    "OTHER",
    "WIDE",
    "chains",
    "documents",
    "read_document",
    "write_samples",
]

APP = "app"
"""Three layers, about twenty files, a whiteout and an opaque directory."""
OTHER = "other"
"""Shares APP's base layer; kept while APP is removed."""
MIXED = "mixed"
"""APP's layers in another order: the same blobs in other chains."""
WIDE = "wide"
"""One layer whose blob alone is 6 MB."""
DEEP = "deep"
"""One layer of a tiny blob that unpacks to 24 MB."""
BUSYBOX = "box"
"""APP with a program to run, which shows a file of the base layer."""

# Bytes of a file that does not compress: the middle layer arrives in several pieces.
_NOISE_BYTES = 200_000


def write_samples(directory: Path, program: Path) -> Layout:
    """Write them to a new OCI layout; ``program`` is a static busybox, to run in a container."""
    layout = Layout(directory)
    base = _base()
    layout.image(f"library/{APP}:latest", [base, _middle(), _top()])
    layout.image(f"library/{OTHER}:latest", [base, tar([member("other", b"other")])])
    layout.image(f"library/{MIXED}:latest", [_middle(), base, _top()])
    layout.image(f"library/{WIDE}:latest", [tar([member("noise", random.Random(2).randbytes(6_000_000))])])
    layout.image(f"library/{DEEP}:latest", [tar([member(f"f{n}", bytes(4_000_000)) for n in range(6)])])
    tools = [member("bin/", None), member("bin/busybox", program.read_bytes(), mode=0o755)]
    config = {"Cmd": ["/bin/busybox", "cat", "/etc/name"], "Env": ["PATH=/bin"]}
    layout.image(f"library/{BUSYBOX}:latest", [base, _middle(), _top(), tar(tools)], config=config)
    return layout


def _base() -> bytes:
    return tar(
        [
            member("etc/", None),
            member("etc/name", b"onggi\n"),
            member("etc/gone", b"whited out above"),
            member("etc/secret", b"s", mode=0o600, uid=1, gid=2),
            member("opaque/", None),
            member("opaque/hidden", b"h"),
            member("tmp/", None, mode=0o1777),
            member("usr/", None),
            member("usr/hard", b"", type=tarfile.LNKTYPE, linkname="etc/name"),
            member("usr/soft", b"", type=tarfile.SYMTYPE, linkname="../etc/name", mode=0o777),
        ]
    )


def _middle() -> bytes:
    noise = random.Random(1)
    members = [member("data/", None)]
    for number in range(4):
        members.append(member(f"data/noise{number}", noise.randbytes(_NOISE_BYTES)))
        members.append(member(f"data/d{number}/", None))
        members.append(member(f"data/d{number}/small", b"%d" % number))
    return tar(members)


def _top() -> bytes:
    return tar(
        [
            member("etc/", None),
            member("etc/.wh.gone"),
            member("opaque/", None),
            member("opaque/.wh..wh..opq"),
            member("opaque/new", b"n"),
            member("etc/new", b"new"),
        ]
    )


def documents(layout: Path, repository: str) -> tuple[dict, dict]:
    """Manifest and config of ``<repository>:latest``."""
    index = json.loads((layout / "index.json").read_bytes())
    name = f"docker.io/library/{repository}:latest"
    entry = next(
        item
        for item in index["manifests"]
        if item["annotations"]["org.opencontainers.image.ref.name"] == name
    )
    manifest = read_document(layout, entry["digest"])
    return manifest, read_document(layout, manifest["config"]["digest"])


def read_document(layout: Path, digest: str) -> dict:
    """A JSON blob of an OCI layout."""
    return json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes())


def chains(layout: Path, repository: str) -> list[str]:
    """The hexadecimal chainIDs of an image's layers, base first."""
    diff_ids = documents(layout, repository)[1]["rootfs"]["diff_ids"]
    return [chain.hex for chain in chain_ids([DiffID(diff_id) for diff_id in diff_ids])]

"""The images that are pulled and removed here: small, every directory named, whiteouts, partial blobs."""

from __future__ import annotations

import random
import tarfile
from pathlib import Path

from tests.peers.images import Layout, member, tar

__all__ = ["APP", "BUSYBOX", "DEEP", "MIXED", "OTHER", "WIDE", "write_samples"]

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

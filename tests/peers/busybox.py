"""An image with programs in it: Debian's static busybox, users, groups, a few directories."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.peers.images import Layout, member, tar
from tests.peers.processes import require

__all__ = ["box_layer", "box_layout"]

_PASSWD = "root:x:0:0:root:/root:/bin/sh\nbin:x:2:3::/bin:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"
_GROUP = "root:x:0:\nbin:x:3:\nwheel:x:10:user\nextra:x:44:user,bin\nuser:x:1000:\n"


def box_layer() -> bytes:
    """The layer's tar."""
    busybox = require("busybox")
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    directories = ("bin", "etc", "home", "home/user", "root", "tmp", "var", "dev", "proc", "sys")
    members = [member(name, None, mode=0o1777 if name == "tmp" else 0o755) for name in directories]
    members.append(member("bin/busybox", Path(busybox).read_bytes(), mode=0o755))
    links = sorted({name for name in names if name != "busybox"})
    members += [member(f"bin/{name}", type=b"2", linkname="busybox") for name in links]
    members += [member("etc/passwd", _PASSWD.encode()), member("etc/group", _GROUP.encode())]
    return tar(members)


def box_layout(directory: Path, **configs: dict[str, Any]) -> Layout:
    """A layout with ``library/box``, and ``library/<name>`` for each further config of the same files."""
    layout = Layout(directory)
    layer = box_layer()
    layout.image("library/box:latest", [layer], config={"Cmd": ["sh"]})
    for name, config in configs.items():
        layout.image(f"library/{name}:latest", [layer], config=config)
    return layout

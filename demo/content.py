"""The images of the tour: ``library/nginx:latest`` and the ``library/debian:buster-slim`` below it.

Made as Docker's own build made the real ones: eleven rows of history, three of which wrote
files, for two platforms (this machine's is one of them). The same bytes at every run on one
machine; between machines the base layer differs by its busybox.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peers.images import Layout, member, tar

from demo.programs import busybox, tiny_program
from onggi.oci.platform import Platform

__all__ = ["BASE_DIRECTORIES", "PACKAGE_LIST", "Content", "write_content"]

BASE_DIRECTORIES = (
    *("bin", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc"),
    *("root", "run", "sbin", "srv", "sys", "tmp", "usr", "var"),
)
_APPLETS = ("ash", "cat", "echo", "grep", "head", "ls", "mkdir", "mount", "ps", "rm", "sh", "tail", "wc")
# A package list of Debian's; the step that installs nginx removes it, as such steps do.
PACKAGE_LIST = "var/lib/apt/lists/deb.debian.org_debian_dists_buster_InRelease"

_SH = "/bin/sh -c "
_BASE_STEPS = (
    (
        "2019-12-28T04:22:55.1Z",
        _SH + "#(nop) ADD file:d252ae1c97d5c80e7d1b6a2a4d3e0b2c5f4a9c61 in / ",
        True,
    ),
    ("2019-12-28T04:22:55.4Z", _SH + '#(nop)  CMD ["bash"]', False),
)
_INSTALL = (
    "set -x     && addgroup --system --gid 101 nginx     && adduser --system --disabled-login --ingroup nginx"
    ' --no-create-home --home /nonexistent --gecos "nginx user" --shell /bin/false --uid 101 nginx'
    "     && apt-get install --no-install-recommends -y nginx=${NGINX_VERSION}-${PKG_RELEASE}"
    "     && rm -rf /var/lib/apt/lists/*"
)
_LINKS = "ln -sf /dev/stdout /var/log/nginx/access.log && ln -sf /dev/stderr /var/log/nginx/error.log"
_NGINX_STEPS = (
    (_SH + "#(nop)  LABEL maintainer=NGINX Docker Maintainers <docker-maint@nginx.com>", False),
    (_SH + "#(nop)  ENV NGINX_VERSION=1.17.6", False),
    (_SH + "#(nop)  ENV NJS_VERSION=0.3.7", False),
    (_SH + "#(nop)  ENV PKG_RELEASE=1~buster", False),
    (_SH + _INSTALL, True),
    (_SH + _LINKS, True),
    (_SH + "#(nop)  EXPOSE 80", False),
    (_SH + "#(nop)  STOPSIGNAL SIGTERM", False),
    (_SH + '#(nop)  CMD ["nginx" "-g" "daemon off;"]', False),
)
_NGINX_CONFIG = {
    "Cmd": ["nginx", "-g", "daemon off;"],
    "Env": [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "NGINX_VERSION=1.17.6",
        "NJS_VERSION=0.3.7",
        "PKG_RELEASE=1~buster",
    ],
    "ExposedPorts": {"80/tcp": {}},
    "Labels": {"maintainer": "NGINX Docker Maintainers <docker-maint@nginx.com>"},
    "StopSignal": "SIGTERM",
}


@dataclass(frozen=True)
class Content:
    """What was written, for this machine's platform."""

    directory: Path
    blobs: tuple[str, ...]
    """Digests of nginx's layers as they travel, base first."""
    diff_ids: tuple[str, ...]
    index: str
    """Digest of nginx's index: what ``pull`` prints as Digest."""
    image_id: str


def write_content(directory: Path) -> Content:
    """Write the layout with both images to ``directory``."""
    layout = Layout(directory)
    host = Platform.host()
    entries: dict[str, list[tuple[dict[str, Any], dict[str, str]]]] = {"debian": [], "nginx": []}
    for platform in _platforms(host):
        shown = {"os": "linux", "architecture": platform.architecture}
        if platform.variant:
            shown["variant"] = platform.variant
        layers = [_base(platform, host), _nginx(platform), _logs()]
        entries["debian"].append((_image(layout, platform, layers[:1]), shown))
        entries["nginx"].append((_image(layout, platform, layers), shown))
        if platform == host:
            ours = layers, entries["nginx"][-1][0]
    layout.name("library/debian:buster-slim", layout.index(entries["debian"]))
    index = layout.name("library/nginx:latest", layout.index(entries["nginx"]))
    return _content(layout, *ours, index)


def _content(layout: Layout, layers: Sequence[bytes], manifest: dict[str, Any], index: str) -> Content:
    document = json.loads(
        (layout.directory / "blobs/sha256" / manifest["digest"].partition(":")[2]).read_bytes()
    )
    return Content(
        layout.directory,
        tuple(layer["digest"] for layer in document["layers"]),
        tuple(_sha256(layer) for layer in layers),
        index,
        document["config"]["digest"],
    )


def _platforms(host: Platform) -> list[Platform]:
    """amd64 and arm64, and this machine's platform if it is neither."""
    usual = [Platform("linux", "amd64"), Platform("linux", "arm64")]
    return usual if host in usual else [*usual, host]


# --- images -----------------------------------------------------------------------------------


def _image(layout: Layout, platform: Platform, layers: Sequence[bytes]) -> dict[str, Any]:
    """An image of one platform; with one layer it is debian, with three nginx. Its descriptor."""
    whole = len(layers) > 1
    history = [_row(created, step, writes) for created, step, writes in _BASE_STEPS]
    if whole:
        for number, (step, writes) in enumerate(_NGINX_STEPS):
            history.append(_row(f"2019-12-28T19:54:{10 + number}.8Z", step, writes))
    config = {
        "architecture": platform.architecture,
        "config": _NGINX_CONFIG if whole else {"Cmd": ["bash"], "Env": _NGINX_CONFIG["Env"][:1]},
        "created": history[-1]["created"],
        "docker_version": "18.09.7",
        "history": history,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [_sha256(layer) for layer in layers]},
        **({"variant": platform.variant} if platform.variant else {}),
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.blob(_json(config), "application/vnd.oci.image.config.v1+json"),
        "layers": [layout.layer(layer) for layer in layers],
    }
    return layout.blob(_json(manifest), manifest["mediaType"])


def _row(created: str, step: str, writes: bool) -> dict[str, Any]:
    return {"created": created, "created_by": step, **({} if writes else {"empty_layer": True})}


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


# --- layers -----------------------------------------------------------------------------------


def _base(platform: Platform, host: Platform) -> bytes:
    """Debian's directories, a shell, and a package list that will not survive."""
    program = (busybox() if platform == host else None) or tiny_program(platform.architecture)
    members = [member(f"{name}/", None, mode=0o1777 if name == "tmp" else 0o755) for name in BASE_DIRECTORIES]
    members.append(member("bin/busybox", program, mode=0o755))
    members += [_symlink(f"bin/{applet}", "busybox") for applet in ("bash", *_APPLETS)]
    members += [
        member("etc/debian_version", b"10.2\n"),
        member("etc/os-release", b'PRETTY_NAME="Debian GNU/Linux 10 (buster)"\nID=debian\nVERSION_ID="10"\n'),
        member("etc/passwd", b"root:x:0:0:root:/root:/bin/bash\n"),
        member("etc/shadow", b"root:*:18246:0:99999:7:::\n", mode=0o640, gid=42),
        *_directories("usr/lib usr/sbin usr/share var/lib var/lib/apt var/lib/apt/lists var/log"),
        member(PACKAGE_LIST, b"Origin: Debian\nSuite: oldoldstable\nCodename: buster\n"),
    ]
    return tar(members)


def _nginx(platform: Platform) -> bytes:
    """What installing nginx wrote and removed: hard links, symbolic links, a whiteout."""
    program = tiny_program(platform.architecture)
    users = b"root:x:0:0:root:/root:/bin/bash\nnginx:x:101:101:nginx user,,,:/nonexistent:/bin/false\n"
    configuration = b"user nginx;\nevents {}\nhttp { server { listen 80; root /usr/share/nginx/html; } }\n"
    return tar(
        [
            *_directories("etc etc/nginx etc/nginx/conf.d usr usr/lib usr/lib/nginx usr/lib/nginx/modules"),
            *_directories("usr/sbin usr/share usr/share/nginx usr/share/nginx/html"),
            *_directories("var var/lib var/lib/apt var/lib/apt/lists var/log var/log/nginx"),
            member("etc/nginx/nginx.conf", configuration),
            _symlink("etc/nginx/modules", "/usr/lib/nginx/modules"),
            member("etc/passwd", users),
            member("usr/sbin/nginx", program, mode=0o755),
            member("usr/sbin/nginx-debug", type=tarfile.LNKTYPE, linkname="usr/sbin/nginx", mode=0o755),
            member("usr/lib/nginx/modules/ngx_http_js_module.so", _noise(300_000)),
            member("usr/share/nginx/html/index.html", b"<h1>Welcome to nginx!</h1>\n"),
            member("var/log/nginx/access.log", b"", uid=101, gid=4, mode=0o640),
            member("var/log/nginx/error.log", b"", uid=101, gid=4, mode=0o640),
            member(PACKAGE_LIST.replace("lists/", "lists/.wh.")),
        ]
    )


def _logs() -> bytes:
    """Twenty-two bytes: two links of eleven characters, which is what a link's size is."""
    return tar(
        [
            *_directories("var var/log var/log/nginx"),
            _symlink("var/log/nginx/access.log", "/dev/stdout"),
            _symlink("var/log/nginx/error.log", "/dev/stderr"),
        ]
    )


def _directories(names: str) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [member(f"{name}/", None) for name in names.split()]


def _symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target, mode=0o777)


def _noise(size: int) -> bytes:
    """Bytes that do not compress, the same ones every time."""
    return hashlib.shake_256(b"onggi").digest(size)

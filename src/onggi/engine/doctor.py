"""What is well and what is not: the host, the data root, every image and layer.

The checks of the store follow the order in which dockerd would fail on it (docker-engine,
appendix C.4); nothing is changed, nothing is unpacked.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from onggi.engine.core import Core
from onggi.errors import OnggiError
from onggi.oci.digest import ChainID
from onggi.record import record
from onggi.store.dataroot import DataRootOwned, claim
from onggi.store.layerdb import CorruptLayer

__all__ = ["Finding", "examine"]

OK, WARN, FAIL = "ok", "warn", "fail"

# Bytes below which a pull of an ordinary image is likely to fail.
_LOW_DISK_BYTES = 2 * 1024**3


@record
class Finding:
    """One thing looked at; ``level`` is ``ok``, ``warn`` or ``fail``; ``hint`` says the way out."""

    level: str
    subject: str
    message: str
    hint: str = ""


def examine(core: Core) -> list[Finding]:
    """Every finding, host first."""
    checks = (_host, _libraries, _owner, _networks, _space, _names, _images, _layers, _leftovers)
    return [finding for check in checks for finding in check(core)]


def _host(core: Core) -> Iterator[Finding]:
    try:
        core.driver.check_host()
        yield Finding(OK, "storage driver", f"{core.driver.name} works here ({core.driver_reason})")
    except OnggiError as error:
        yield Finding(FAIL, "storage driver", error.message, error.hint)
    for name, value in core.driver.status():
        yield Finding(OK, name.lower(), value)
    for lack, way_out in core.driver.lacks():
        yield Finding(WARN, "storage driver", lack, way_out)


def _libraries(core: Core) -> Iterator[Finding]:
    from importlib.util import find_spec

    for module, what, otherwise in (
        ("isal", "fast gzip", "gzip layers are inflated by zlib, at half the speed"),
        ("zstandard", "zstd layers", "zstd layers are refused"),
        ("fastcrc", "fast CRC-64", "tar-split checksums are computed in Python, slowly"),
    ):
        if find_spec(module) is not None:
            yield Finding(OK, what, f"{module} is installed")
        else:
            yield Finding(WARN, what, otherwise, f"pip install {module}")


def _owner(core: Core) -> Iterator[Finding]:
    root = core.layout.root
    if not (root / "volumes").is_dir():
        yield Finding(OK, "data root", f"{root} is new")
        return
    try:
        with claim(root):
            yield Finding(OK, "data root", f"{root} can be changed")
    except DataRootOwned as error:
        yield Finding(WARN, "data root", error.message, error.hint)
    except OnggiError as error:
        yield Finding(FAIL, "data root", error.message, error.hint)


def _networks(core: Core) -> Iterator[Finding]:
    from onggi.network.netavark import Netavark

    for program, otherwise in (
        ("netavark", "containers can have --network host or none only"),
        ("iptables", "containers can have --network host or none only"),
        ("aardvark-dns", "containers of a network do not find each other by name"),
    ):
        path = Netavark.find(program)
        if path:
            yield Finding(OK, "networks", path)
        else:
            yield Finding(
                WARN, "networks", f"{program} is missing: {otherwise}", f"apt-get install {program}"
            )


def _space(core: Core) -> Iterator[Finding]:
    path = core.layout.root
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    inodes = os.statvfs(path)
    if inodes.f_files and inodes.f_favail < 10_000:
        yield Finding(
            WARN, "inodes", f"{inodes.f_favail} left on {path}", "remove images: onggi image prune -a"
        )
    text = f"{free / 1e9:.1f}GB free on {path}"
    if free < _LOW_DISK_BYTES:
        yield Finding(WARN, "disk", text, "remove images: onggi image prune -a")
    else:
        yield Finding(OK, "disk", text)


def _names(core: Core) -> Iterator[Finding]:
    try:
        names = list(core.tags.snapshot().items())
    except OnggiError as error:
        yield Finding(FAIL, "repositories.json", error.message, error.hint)
        return
    known = set(core.images.ids())
    lost = [reference for reference, image_id in names if image_id not in known]
    for reference in lost:
        yield Finding(
            WARN,
            "repositories.json",
            f"{reference.familiar} names no image here",
            f"onggi pull {reference.familiar}",
        )
    if not lost:
        yield Finding(OK, "repositories.json", f"{len(names)} names")


def _images(core: Core) -> Iterator[Finding]:
    broken = core.images.broken()
    for image_id, reason in broken:
        yield Finding(FAIL, f"image {image_id.short}", reason, "pull it again")
    count = 0
    for image_id, config in core.images.images():
        missing = [chain for chain in config.chain_ids if not core.layers.db.path(chain).is_dir()]
        count += not missing
        for chain in missing:
            yield Finding(FAIL, f"image {image_id.short}", f"its layer {chain} is missing", "pull it again")
    yield Finding(OK, "images", f"{count} whole")


def _layers(core: Core) -> Iterator[Finding]:
    sound = 0
    for chain in core.layers.db.chains():
        reason = _damage(core, chain)
        if reason:
            yield Finding(
                FAIL,
                f"layer {chain.short}",
                reason,
                "pull an image that uses it: see onggi explain " + chain.short,
            )
        else:
            sound += 1
    yield Finding(OK, "layers", f"{sound} sound")


def _damage(core: Core, chain: ChainID) -> str:
    try:
        record = core.layers.get(chain)
        return "it disappeared" if record is None else core.layers.damage(record)
    except CorruptLayer as error:
        return error.message


def _leftovers(core: Core) -> Iterator[Finding]:
    known: set[str] = {record.cache_id for record in core.layers.db.records()}
    known |= set(core.layers.db.container_cache_ids())
    orphans = [cache_id for cache_id in core.driver.cache_ids() if cache_id not in known]
    if orphans:
        yield Finding(WARN, "leftovers", f"{len(orphans)} directories belong to no layer: {orphans[0][:12]}…")
    if core.layers.db.removals():
        yield Finding(WARN, "leftovers", "an interrupted removal", "the next changing command finishes it")
    if not orphans:
        yield Finding(OK, "leftovers", "none")

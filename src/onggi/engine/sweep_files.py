"""Sweepers of what was received and learnt, and of small files that lost their owner (see :mod:`sweep`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from onggi.drivers.choice import DRIVERS
from onggi.engine.core import Core
from onggi.engine.gc import Found, goes, stays
from onggi.engine.marks import is_settled, listdir, text_of
from onggi.engine.mounts import Mounts
from onggi.oci.digest import ChainID, Digest, ImageID
from onggi.store.conversion import chosen_driver, convertings
from onggi.store.layout import Layout
from onggi.store.locks import want_lock

__all__ = [
    "blobs",
    "conversions",
    "distribution",
    "locks",
    "mounts",
    "notes",
    "remove_lock",
    "temporary_files",
]

# Seconds that what was learnt of a blob outlives its layer (Docker keeps it for ever). It saves a
# download or an upload when the layer comes back, as after a rollback; that happens in weeks.
_DISTRIBUTION_AGE_S = 30 * 86400.0
_LOCK = re.compile(
    r"(chain|image|staging|want|blob|supervisor|container)-([0-9a-f]{64}(?:-init)?)|(mount)-([0-9a-f]{12})"
)


# --- what was received and learnt ---------------------------------------------------------------


def distribution(core: Core) -> Iterator[Found]:
    present = {record.diff_id for record in core.layers.db.records()}
    for name in ("diffid-by-digest", "v2metadata-by-diffid"):
        directory = core.layout.distribution / name / "sha256"
        for hex in listdir(directory):
            path = directory / hex
            if hex.startswith(".") or len(hex) != 64:
                continue
            diff_id = text_of(path) if name == "diffid-by-digest" else f"sha256:{hex}"
            kind, short = f"distribution/{name}", hex[:12]
            if diff_id in present:
                yield stays(kind, short, path, "its layer is here")
            elif not is_settled(path, _DISTRIBUTION_AGE_S):
                yield stays(kind, short, path, "its layer is gone; remembered for 30 days")
            else:
                reason = "its layer has been gone for 30 days"
                yield goes(kind, short, path, reason, partial(_forget_blob, core, path))


def _forget_blob(core: Core, path: Path) -> bool:
    """Under the lock of ``distribution/``: a pull may be writing the file anew."""
    with core.locks.acquire("distribution", exclusive=True):
        if not is_settled(path, _DISTRIBUTION_AGE_S):
            return False
        path.unlink(missing_ok=True)
        return True


def conversions(core: Core) -> Iterator[Found]:
    """What ``storage convert`` left of another driver: no images of this root any more, or not yet."""
    root, current = core.layout.root, core.driver.name
    begun = convertings(root)
    for driver in DRIVERS:
        layout = Layout(root, driver)
        if driver == current or not (driver in begun or chosen_driver(root) == current):
            continue
        for path in (root / "onggi" / "converting" / driver, layout.image, layout.driver_home):
            if path.is_dir():
                what = "begun and not ended" if driver in begun else "kept"
                reason = f"a conversion left it ({what}): 'onggi storage convert --to {current}' removes it"
                yield stays("conversion", str(path.relative_to(root)), path, reason)


def blobs(core: Core) -> Iterator[Found]:
    age_s = core.config.partial_max_age_s
    kept = set(core.blobs.kept()) & {layer.digest for each in core.manifests.all() for layer in each.layers}
    for digest in core.blobs.held():
        paths = [path for path in _blob_files(core, digest) if path.exists()]
        path = paths[0] if paths else core.blobs.final_path(digest)
        if core.locks.is_held(want_lock(digest)):
            yield stays("blob", digest.short, path, "a running command receives it", busy=True)
        elif digest in kept:
            yield stays("blob", digest.short, path, "kept beside its layer: a push sends it as it came")
        elif not all(is_settled(path, age_s) for path in paths):
            yield stays("blob", digest.short, path, f"received, kept for {_days(age_s)} for the next pull")
        else:
            reason = f"received, and not wanted for {_days(age_s)}"
            yield goes("blob", digest.short, path, reason, partial(_discard_blob, core, digest))


def _blob_files(core: Core, digest: Digest) -> list[Path]:
    final = core.blobs.final_path(digest)
    return [final, *(final.with_suffix(f".{end}") for end in ("partial", "spans", "kept"))]


def _discard_blob(core: Core, digest: Digest) -> bool:
    lease = core.locks.try_acquire(want_lock(digest), exclusive=True)
    if lease is None:
        return False
    core.blobs.discard(digest)
    lease.release(remove=True)
    return True


def _days(seconds: float) -> str:
    days = seconds / 86400
    return "a day" if days == 1 else f"{days:g} days"


# --- small things -------------------------------------------------------------------------------


def temporary_files(core: Core) -> Iterator[Found]:
    """``.tmp-*`` of writers that were killed, of Docker's too."""
    for path in sorted(_find_temporary_files(core)):
        name = str(path.relative_to(core.layout.root))
        if is_settled(path):
            yield goes("temporary file", name, path, "its writer was killed", partial(_unlink, path))
        else:
            yield stays("temporary file", name, path, "perhaps being written")


def _find_temporary_files(core: Core) -> Iterator[Path]:
    trees = [os.walk(core.layout.image), os.walk(core.layout.root / "containers")]
    for directory, _, files in [entry for tree in trees for entry in tree]:
        yield from (Path(directory, name) for name in files if name.startswith(".tmp-"))
    flat = [core.driver.path(name) for name in core.driver.cache_ids()]
    flat += [core.layout.root, *core.layout.written_flat]
    for path in flat:
        yield from (path / name for name in listdir(path) if name.startswith(".tmp-"))


def _unlink(path: Path) -> bool:
    path.unlink(missing_ok=True)
    return True


def mounts(core: Core) -> Iterator[Found]:
    """Recovery has cleared the abandoned ones before a sweep; a dry run finds them."""
    verbs = Mounts(core)
    for record in verbs.list():
        reason = f"an image is mounted on {record.path}"
        yield Found("mount", record.id, reason, int, None, record.path)
    for id in verbs.abandoned():
        reason = "whoever mounted it was killed, or it was unmounted by other means"
        yield Found("mount", id, reason, int, partial(verbs.clear, id), str(core.layout.mounts / id))


def notes(core: Core) -> Iterator[Found]:
    """Pins and last uses of what is gone."""
    for name in core.last_use.names():
        path = core.layout.last_use / name
        if not _is_known(core, name):
            reason = "its image or layer is gone"
            yield goes("last use", name[:12], path, reason, partial(_forget_note, core, path))
    for image_id in core.pins.ids():
        path = core.pins.path(image_id)
        if image_id in core.images:
            yield stays("pin", image_id.short, path, "its image is here")
        else:
            remove = partial(_forget_note, core, path)
            yield goes("pin", image_id.short, path, "its image is gone", remove)


def _is_known(core: Core, hex: str) -> bool:
    """True for what an image or a layer is called."""
    return ImageID(f"sha256:{hex}") in core.images or ChainID(f"sha256:{hex}") in core.layers.db


def _forget_note(core: Core, path: Path) -> bool:
    """Under the leases of whoever brings, uses or pins what it is about."""
    with ExitStack() as held:
        for kind in ("image", "chain"):
            lease = core.locks.try_acquire(f"{kind}-{path.name}", exclusive=True)
            if lease is None:
                return False
            held.callback(lease.release, remove=True)
        if _is_known(core, path.name):
            return False
        path.unlink(missing_ok=True)
    return True


def locks(core: Core) -> Iterator[Found]:
    """Lock files of what is gone; empty, but each an inode."""
    for name in listdir(core.layout.locks):
        match = _LOCK.fullmatch(name)
        if match and not _has_object(core, *filter(None, match.groups())) and not core.locks.is_held(name):
            path = core.layout.locks / name
            yield goes(
                "lock file", name[:20], path, "what it stands for is gone", partial(remove_lock, core, name)
            )


def _has_object(core: Core, kind: str, hex: str) -> bool:
    if kind == "chain":
        return ChainID(f"sha256:{hex}") in core.layers.db
    if kind == "image":
        return ImageID(f"sha256:{hex}") in core.images
    if kind in ("supervisor", "container"):
        return core.containers.path(hex).exists()
    if kind == "mount":
        return (core.layout.mounts / f"{hex}.json").exists()
    if kind == "staging":
        return (core.layout.staging / hex).exists()
    return any(path.exists() for path in _blob_files(core, Digest(f"sha256:{hex}")))


def remove_lock(core: Core, name: str) -> bool:
    """Delete a lock file, unless somebody holds it."""
    lease = core.locks.try_acquire(name, exclusive=True)
    if lease is None:
        return False
    lease.release(remove=True)
    return True

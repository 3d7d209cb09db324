"""What the erofs driver can do on this host, as ``info`` and ``doctor`` tell it; and does where it can."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from onggi.drivers.erofs_names import DATA, INDEX, SPLIT, SUMS, TAR
from onggi.drivers.erofs_options import ErofsOptions
from onggi.drivers.erofs_probe import knows_verity, why_not_immutable, why_not_mountable
from onggi.linux.file_flags import set_immutable
from onggi.linux.filesystem import statfs_type

__all__ = ["lacks", "protect", "status"]


def status(options: ErofsOptions, directory: Path) -> list[tuple[str, str]]:
    """``DriverStatus`` for layers in (or below) an existing directory."""
    reason = why_not_mountable(directory)
    return [
        ("Backing Filesystem", statfs_type(str(directory))),
        ("Block Size", str(options.block_bytes)),
        ("Mounts", f"no: {reason}" if reason else "by descriptor"),
        ("Immutable Files", _immutable(options, directory)),
        ("fs-verity", _verity(directory)),
    ]


def _immutable(options: ErofsOptions, directory: Path) -> str:
    if not options.immutable:
        return "no: erofs.immutable is not set"
    reason = why_not_immutable(directory)
    return f"no: {reason}" if reason else "yes"


def _verity(directory: Path) -> str:
    if knows_verity(directory):
        return "not used: 'onggi verify' proves layers"
    return "no: this kernel or file system has none; 'onggi verify' proves layers"


def lacks(options: ErofsOptions, directory: Path) -> list[tuple[str, str]]:
    """What is wanted and cannot be had, each with the way out."""
    found = []
    if reason := why_not_mountable(directory):
        hint = "looking into images works without: image files, image cat, image cp, layer ls, layer cat"
        found.append((f"layers cannot be mounted: {reason}", hint))
    if options.immutable and (reason := why_not_immutable(directory)):
        hint = "layers are kept all the same; take erofs.immutable from storage-opts"
        found.append((f"files cannot be made immutable: {reason}", hint))
    return found


def protect(layers: Iterable[Path]) -> None:
    """Make the files of staged layers immutable, where this user and file system can.

    Before their directories are renamed: ``verify --fast`` wants the later ctime of those. Killed
    halfway, what is protected is removed like everything staged (``remove_tree``).
    """
    for layer in layers:
        if why_not_immutable(layer):
            return
        for name in (TAR, DATA, SPLIT, INDEX, SUMS):
            try:
                fd = os.open(layer / name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                set_immutable(fd, True)
            finally:
                os.close(fd)

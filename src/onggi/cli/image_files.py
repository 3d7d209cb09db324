"""``onggi image files|cat|cp``: what is inside an image, without a container and without a mount."""

from __future__ import annotations

import os
import stat
import sys

from onggi.cli.layer import write_json_array
from onggi.cli.long_listing import clamped_ns, json_name, long_line, shown_name
from onggi.cli.session import Failure, Session
from onggi.cli.units import human_size

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from onggi.engine.contents import ImageEntry

__all__ = ["run", "run_cat", "run_cp", "split_image_path"]

_MODE_BITS = 0o7777


def run(session: Session) -> int:
    """List a directory of the image, or with ``-R`` everything below it."""
    entries = _entries(session)
    if session.flag("json"):
        write_json_array(session, map(_json, entries))
        return 0
    for entry in entries:
        session.out.write(_line(entry) + "\n")
    return 0


def _entries(session: Session) -> Iterator[ImageEntry]:
    contents = session.engine.images.get(session.arguments[0]).contents
    path = os.fsencode(session.arguments[1]) if len(session.arguments) > 1 else b"/"
    return contents.walk(path) if session.flag("recursive") else contents.list(path)


def _line(entry: ImageEntry) -> str:
    status = entry.status
    device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    size = f"{os.major(status.st_rdev)},{os.minor(status.st_rdev)}" if device else str(_size(entry))
    link = f" -> {shown_name(entry.target)}" if stat.S_ISLNK(status.st_mode) else ""
    owner = f"{status.st_uid}/{status.st_gid}"
    return long_line(status.st_mode, owner, size, status.st_mtime_ns, b"/" + entry.path, link)


def _size(entry: ImageEntry) -> int:
    """A directory's own size is the file system's matter, not the image's."""
    return 0 if stat.S_ISDIR(entry.status.st_mode) else entry.status.st_size


def _json(entry: ImageEntry) -> dict[str, Any]:
    from onggi.oci.timestamps import format_ns

    status = entry.status
    return {
        "Path": "/" + json_name(entry.path),
        "Type": entry.kind,
        "Mode": f"{status.st_mode & _MODE_BITS:04o}",
        "UID": status.st_uid,
        "GID": status.st_gid,
        "Size": _size(entry),
        "ModTime": format_ns(clamped_ns(status.st_mtime_ns)),
        "LinkTarget": json_name(entry.target),
        "Layer": entry.layer,
    }


def run_cat(session: Session) -> int:
    """Write a file of the image to standard output."""
    name, path = session.arguments
    with session.engine.images.get(name).open(os.fsencode(path)) as file:
        while piece := file.read(1 << 20):
            session.out.write_bytes(piece)
    return 0


def run_cp(session: Session) -> int:
    """Copy a path of an image to the host, or write it to standard output as a tar stream."""
    source, target = session.arguments
    found = split_image_path(source)
    if found is None:
        raise Failure(
            f"Error: copy {source}: no path of an image (say IMAGE:/PATH, e.g. nginx:/etc/nginx; "
            "nothing can be copied into an image)"
        )
    name, path = found
    contents = session.engine.images.get(name).contents
    if target == "-":
        if session.out.is_terminal:
            raise Failure("refusing to write to a terminal: redirect standard output, e.g. '- | tar t'")
        session.out.flush()
        contents.write_tar(os.fsencode(path), sys.stdout.buffer, follow=session.flag("follow-link"))
        return 0
    copied = contents.copy_out(
        os.fsencode(path), target, follow=session.flag("follow-link"), archive=session.flag("archive")
    )
    quiet = session.flag("quiet") if session.given("quiet") else not session.out.is_terminal
    if not quiet:
        session.err.write(f"Successfully copied {human_size(copied)} to {target}\n")
    return 0


def split_image_path(text: str) -> tuple[str, str] | None:
    """``nginx:1.25:/etc`` → (``nginx:1.25``, ``/etc``); None where no ``:/`` parts a name from a path."""
    name, mark, path = text.partition(":/")
    return (name, "/" + path) if name and mark else None

"""``onggi layer ls|cat|diff``: what one layer holds and changes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from onggi.cli.long_listing import clamped_ns, json_name, long_line, shown_name
from onggi.cli.session import Failure, Session

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.archive.tar import Member
    from onggi.engine.layer import StoredLayer
    from onggi.tree.differences import Change

__all__ = ["run_cat", "run_diff", "run_ls", "write_json_array"]

_MODE_BITS = 0o7777
# Type byte of tar → type bits of a mode, and the word in JSON.
_TYPES = {
    "0": (stat.S_IFREG, "file"),
    "\0": (stat.S_IFREG, "file"),
    "7": (stat.S_IFREG, "file"),
    "S": (stat.S_IFREG, "file"),
    "1": (stat.S_IFREG, "hardlink"),
    "2": (stat.S_IFLNK, "symlink"),
    "3": (stat.S_IFCHR, "char"),
    "4": (stat.S_IFBLK, "block"),
    "5": (stat.S_IFDIR, "directory"),
    "6": (stat.S_IFIFO, "fifo"),
}


def run_ls(session: Session) -> int:
    """List what the layer's archive holds, in its order."""
    path = os.fsencode(session.arguments[1]) if len(session.arguments) > 1 else b""
    layer = _layer(session, session.arguments[0])
    members = layer.files(path)
    found = False
    if session.flag("json"):
        write_json_array(session, (_json(member) for member in members))
        return 0
    for line in map(_line, members):
        found = True
        session.out.write(line + "\n")
    if path and not found:
        from onggi.layers.contents import NoSuchMember

        raise NoSuchMember(layer.name, path.strip(b"/"))
    return 0


def run_cat(session: Session) -> int:
    """Write a file of the layer to standard output."""
    name, path = session.arguments
    for piece in _layer(session, name).read(os.fsencode(path)):
        session.out.write_bytes(piece)
    return 0


def run_diff(session: Session) -> int:
    """What a layer changes below it; of two, what leads from the first to the second."""
    changes = _changes(session)
    if session.flag("json"):
        write_json_array(
            session,
            ({"Kind": c.kind, "Path": "/" + json_name(c.path), "Size": c.size} for c in changes),
        )
        return 0
    for change in changes:
        session.out.write(f"{change.kind} /{shown_name(change.path)}\n")
    return 0


def _changes(session: Session) -> Iterator[Change]:
    layer = _layer(session, session.arguments[0], whole_stack=True)
    if len(session.arguments) == 1:
        return layer.diff()
    return layer.diff(_layer(session, session.arguments[1], whole_stack=True, numbered=False))


def _layer(session: Session, name: str, *, whole_stack: bool = False, numbered: bool = True) -> StoredLayer:
    number = session.flag("layer") if numbered and session.given("layer") else None
    if number is not None and "#" in name:
        raise Failure(f"conflicting options: {name} and --layer {number}")
    return session.engine.layer(name, number, whole_stack=whole_stack)


def _line(member: Member) -> str:
    kind, word = _TYPES.get(chr(member.type), (0, "other"))
    size = str(member.size)
    if word in ("char", "block"):
        size = f"{member.devmajor},{member.devminor}"
    owner = f"{member.uid}/{member.gid}"
    mode = kind | member.mode & _MODE_BITS
    line = long_line(mode, owner, size, member.mtime_ns, member.name, _remark(member, word))
    return "h" + line[1:] if word == "hardlink" else line


def _remark(member: Member, word: str) -> str:
    from onggi.archive.tar_format import clamp_path
    from onggi.layers.contents import deleted_path

    if word == "symlink":
        return f" -> {shown_name(member.linkname)}"
    if word == "hardlink":
        return f" link to {shown_name(member.linkname)}"
    name = clamp_path(member.name)
    deleted = deleted_path(name)
    if deleted is None:
        return ""
    if name.endswith(b".wh..wh..opq"):
        return f"  (hides what is below in /{shown_name(deleted)})"
    return f"  (deletes /{shown_name(deleted)})"


def _json(member: Member) -> dict[str, Any]:
    from onggi.archive.tar_format import clamp_path
    from onggi.layers.contents import deleted_path

    _, word = _TYPES.get(chr(member.type), (0, "other"))
    name = clamp_path(member.name)
    deleted = deleted_path(name)
    document: dict[str, Any] = {
        "Name": json_name(member.name),
        "Type": word if deleted is None else "opaque" if name.endswith(b".wh..wh..opq") else "whiteout",
        "Mode": f"{member.mode & _MODE_BITS:04o}",
        "UID": member.uid,
        "GID": member.gid,
        "Size": member.size,
        "ModTime": _time(member.mtime_ns),
        "LinkName": json_name(member.linkname),
    }
    if deleted is not None:
        document["Deletes"] = "/" + json_name(deleted)
    if word in ("char", "block"):
        document |= {"DevMajor": member.devmajor, "DevMinor": member.devminor}
    if member.xattrs:
        document["Xattrs"] = {json_name(key): value.hex() for key, value in sorted(member.xattrs.items())}
    return document


def _time(mtime_ns: int) -> str:
    from onggi.oci.timestamps import format_ns

    return format_ns(clamped_ns(mtime_ns))


def write_json_array(session: Session, items: Iterable[object]) -> None:
    """One JSON array, an item a line, written as the items come: memory does not grow with it."""
    from onggi.cli.gofmt import go_json

    before = "["
    for item in items:
        session.out.write(f"{before}\n{go_json(item)}")
        before = ","
    session.out.write("[]\n" if before == "[" else "\n]\n")

"""Who a container runs as: ``--user`` against the container's own passwd and group files.

spec     = [ user ] [ ":" group ] ;        (names, or decimal numbers up to 2^31-1)

A number needs no entry. Numbers beyond 31 bits are refused, since they would wrap around to
root (CVE-2024-40635). The files are read below the container's root, never the host's, whatever
symbolic links say (CVE-2024-9676).

Source: runc ``libcontainer/user`` (GetExecUser, GetAdditionalGroups); passwd(5), group(5).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence

from onggi.errors import InvalidArgument
from onggi.record import record

__all__ = ["AccountFiles", "Group", "Passwd", "User", "UserNotFound", "read_accounts", "resolve_user"]

_MAX_ID = (1 << 31) - 1
# Longer files are no account files; reading stops there.
_MAX_FILE_BYTES = 4 * 1024 * 1024


class UserNotFound(InvalidArgument):
    """A user or group that the container's files do not name, or a number out of range."""


@record
class Passwd:
    """A line of passwd; ``gid`` is the primary group."""

    name: str
    uid: int
    gid: int


@record
class Group:
    """A line of group."""

    name: str
    gid: int
    members: tuple[str, ...]


@record
class AccountFiles:
    """What a container's passwd and group say; empty when it has none."""

    passwd: tuple[Passwd, ...] = ()
    groups: tuple[Group, ...] = ()


@record
class User:
    """``process.user``: the additional groups begin with the primary one, as Docker has them."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...]

    def entry(self) -> dict[str, object]:
        """As the runtime spec writes it."""
        entry: dict[str, object] = {"uid": self.uid, "gid": self.gid}
        if self.additional_gids:
            entry["additionalGids"] = list(self.additional_gids)
        return entry


def resolve_user(spec: str, accounts: AccountFiles, group_add: Sequence[str] = ()) -> User:
    """The numbers for ``spec`` (empty means root) and further groups. Raises UserNotFound."""
    user_word, _, rest = spec.partition(":")
    group_word = rest.partition(":")[0]
    uid, gid, name = _user(user_word, accounts)
    additional: list[int] = []
    if group_word:
        gid = _group(group_word, accounts)
    elif name:
        additional = [group.gid for group in accounts.groups if name in group.members]
    additional += [_group(word, accounts) for word in group_add]
    return User(uid, gid, tuple(dict.fromkeys((gid, *additional))))


def _user(word: str, accounts: AccountFiles) -> tuple[int, int, str]:
    """uid, primary gid and name (empty when no line names it)."""
    number = 0 if not word else _number(word)
    for line in accounts.passwd:
        if line.uid == number if number is not None else line.name == word:
            return _in_range(line.uid, word), _in_range(line.gid, word), line.name
    if number is None:
        raise UserNotFound(
            f"unable to find user {word}: no matching entries in passwd file",
            hint="use a number, or a name of the image's /etc/passwd",
        )
    return _in_range(number, word), 0, ""


def _group(word: str, accounts: AccountFiles) -> int:
    number = _number(word)
    for line in accounts.groups:
        if line.gid == number if number is not None else line.name == word:
            return _in_range(line.gid, word)
    if number is None:
        raise UserNotFound(
            f"unable to find group {word}: no matching entries in group file",
            hint="use a number, or a name of the image's /etc/group",
        )
    return _in_range(number, word)


def _number(word: str) -> int | None:
    """The decimal number, whatever its size, or None for a name."""
    digits = word.removeprefix("-").removeprefix("+")
    return int(word) if digits.isascii() and digits.isdigit() else None


def _in_range(number: int, word: str) -> int:
    if not 0 <= number <= _MAX_ID:
        raise UserNotFound(f"uids and gids must be in range 0-{_MAX_ID}", hint=f"{word or number} is not")
    return number


# --- the files --------------------------------------------------------------------------------


def read_accounts(root_fd: int) -> AccountFiles:
    """The files of the container whose root directory is open as ``root_fd``.

    A file that is missing, no regular file or unreadable counts as empty.
    """
    passwd = map(_passwd, _lines(root_fd, b"etc/passwd"))
    groups = map(_group_line, _lines(root_fd, b"etc/group"))
    return AccountFiles(
        tuple(line for line in passwd if line is not None),
        tuple(line for line in groups if line is not None),
    )


def _lines(root_fd: int, path: bytes) -> Iterable[list[str]]:
    from onggi.linux.openat2 import open_in_root

    try:
        # O_NONBLOCK: a FIFO put there must not hold us up.
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO):
            raise
        return []
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        data = _read(fd) if regular else b""
    finally:
        os.close(fd)
    text = data.decode("utf-8", "surrogateescape")
    return [line.strip().split(":") for line in text.split("\n") if line.strip()]


def _read(fd: int) -> bytes:
    pieces, size = [], 0
    while size < _MAX_FILE_BYTES and (piece := os.read(fd, _MAX_FILE_BYTES - size)):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _passwd(fields: Sequence[str]) -> Passwd | None:
    uid, gid = _field(fields, 2), _field(fields, 3)
    # runc takes what is no number for 0, which is root; such a line names nobody here.
    return None if uid is None or gid is None else Passwd(fields[0], uid, gid)


def _group_line(fields: Sequence[str]) -> Group | None:
    gid = _field(fields, 2)
    members = fields[3].split(",") if len(fields) > 3 else []
    return None if gid is None else Group(fields[0], gid, tuple(member for member in members if member))


def _field(fields: Sequence[str], index: int) -> int | None:
    return _number(fields[index]) if len(fields) > index else None

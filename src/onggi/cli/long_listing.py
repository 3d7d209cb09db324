"""Lines of ``tar tv`` and ``ls -l`` for what is in layers and images.

::

    -rw-r--r-- 0/0             1234 2026-01-02 03:04 etc/hosts
    lrwxrwxrwx 0/0                0 2026-01-02 03:04 bin -> usr/bin

Times are local, as GNU tar shows them; owners are numbers, since an image's names are not the
host's. Control characters and bytes that are not UTF-8 show as ``\\ooo``, so that a name can
neither steer a terminal nor fake a line.
"""

from __future__ import annotations

import re
import stat
import time

__all__ = ["clamped_ns", "json_name", "long_line", "shown_name"]

# Years 1 to 9999: what a calendar can show of the times an archive can claim.
_FIRST_NS, _LAST_NS = -62_135_596_800 * 10**9, 253_402_300_799 * 10**9

# GNU tar's width of owner and size together.
_OWNER_AND_SIZE = 19
_UNSAFE = re.compile("[\x00-\x1f\x7f\\\\\udc80-\udcff\x80-\x9f]")


def long_line(mode: int, owner: str, size: str, mtime_ns: int, name: bytes, link: str = "") -> str:
    """One line without its newline; ``mode`` has the type bits, ``link`` is what follows the name."""
    room = max(_OWNER_AND_SIZE - len(owner) - 1, len(size))
    moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(clamped_ns(mtime_ns) // 10**9))
    return f"{stat.filemode(mode)} {owner} {size:>{room}} {moment} {shown_name(name)}{link}"


def shown_name(name: bytes) -> str:
    """A name of an image, printable."""
    return _UNSAFE.sub(_escaped, name.decode("utf-8", "surrogateescape"))


def _escaped(found: re.Match[str]) -> str:
    letter = found[0]
    if letter == "\\":
        return "\\\\"
    return "".join(f"\\{byte:03o}" for byte in letter.encode("utf-8", "surrogateescape"))


def clamped_ns(mtime_ns: int) -> int:
    """A time that can be shown."""
    return min(max(mtime_ns, _FIRST_NS), _LAST_NS)


def json_name(name: bytes) -> str:
    """A name as JSON can hold it: bytes that are not UTF-8 as ``\\xNN``."""
    return name.decode("utf-8", "backslashreplace")

"""A running container's state on disk: ``config.v2.json``, and what happens, in the event journal.

The file is dockerd's (docker-engine §4.8); keys keep their order, and it is replaced as a
whole. Commands change it too (rename, update), so every change reads it anew under the lock
``container-<id>``.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import time
from collections.abc import Callable

TYPE_CHECKING = False  # typing costs half a megabyte in every supervisor
if TYPE_CHECKING:
    from typing import Any

__all__ = ["State", "now_text", "ZERO_TIME"]

ZERO_TIME = "0001-01-01T00:00:00Z"
# struct flock: l_type, l_whence, l_start, l_len, l_pid (store/locks.py uses the same locks).
_FLOCK = struct.Struct("@hhqqi0q")
# Go's encoder escapes these in every string.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def now_text() -> str:
    """Now, as Go writes it: UTC, RFC 3339, nanoseconds without trailing zeros."""
    seconds, fraction = divmod(time.time_ns(), 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


class State:
    """``durable``: changes survive a power cut; not worth a flush where the container is removed anyway."""

    def __init__(self, file: str, lock: str, journal: str, *, durable: bool) -> None:
        self._file = file
        self._lock = lock
        self._journal = journal
        self._durable = durable
        self._event: dict[str, str] = {}
        self.id = ""

    # --- config.v2.json -----------------------------------------------------------------------

    def update(self, change: Callable[[dict[str, Any]], None], *, durable: bool = True) -> None:
        """Change the document by ``change``; nothing happens when the container is gone.

        Not ``durable``: a power cut may take it back.
        """
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(lock, fcntl.F_OFD_SETLKW, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
            try:
                with open(self._file, encoding="utf-8", errors="surrogatepass") as file:
                    document = json.load(file)
            except FileNotFoundError:
                return
            change(document)
            self._replace(document, durable=durable and self._durable)
        finally:
            os.close(lock)

    def _replace(self, document: dict[str, Any], *, durable: bool) -> None:
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).translate(_ESCAPES)
        directory, name = os.path.split(self._file)
        temporary = os.path.join(directory, f".tmp-{name}{os.getpid()}")
        with open(temporary, "wb") as file:
            file.write(text.encode("utf-8", "surrogatepass") + b"\n")
            os.fchmod(file.fileno(), 0o600)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.rename(temporary, self._file)

    def set(self, **fields: Any) -> None:
        """Change fields of ``State``."""
        self.update(lambda document: document["State"].update(fields))

    # --- events -------------------------------------------------------------------------------

    def describe(self, id: str, attributes: dict[str, str]) -> None:
        """What every event says of the container."""
        self.id = id
        self._event = attributes

    def emit(self, action: str, **more: str) -> None:
        """Append an event of the container to the journal (store/journal.py); a full disk loses it."""
        self.emit_of("container", self.id, action, {**self._event, **more})

    def emit_of(self, kind: str, id: str, action: str, attributes: dict[str, str]) -> None:
        """Append an event of anything."""
        now = time.time_ns()
        event = {
            **({"status": action, "id": id} if kind == "container" else {}),
            "Type": kind,
            "Action": action,
            "Actor": {"ID": id, "Attributes": attributes},
            "scope": "local",
            "time": now // 10**9,
            "timeNano": now,
        }
        line = json.dumps(event, separators=(",", ":"), ensure_ascii=False) + "\n"
        try:
            fd = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.write(fd, line.encode("utf-8", "surrogateescape"))
        except OSError:
            pass
        finally:
            os.close(fd)

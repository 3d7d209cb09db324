"""``onggi logs``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from onggi.cli.session import Failure, Session
from onggi.oci.timestamps import parse_moment

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.engine.containers.log_entries import LogEntry

__all__ = ["run"]


def run(session: Session) -> int:
    """Print what a container wrote, each stream to its own."""
    container = session.engine.containers.get(session.arguments[0])
    entries = container.logs(
        follow=session.flag("follow"),
        tail=_tail(session.flag("tail")),
        since=_moment("since", session.flag("since")),
        until=_moment("until", session.flag("until")),
    )
    one_stream = bool(container.stored.config.get("Tty"))
    text = _formatter(session)
    session.out.flush()
    for entry in entries:
        to_stderr = entry.stream == "stderr" and not one_stream
        _write(2 if to_stderr else 1, text(entry))
    return 0


def _formatter(session: Session) -> Callable[[LogEntry], bytes]:
    timestamps, details = session.flag("timestamps"), session.flag("details")
    if not timestamps and not details:
        return lambda entry: entry.data
    return lambda entry: (
        (_stamp(entry.time_ns) if timestamps else b"") + (_details(entry) if details else b"") + entry.data
    )


def _details(entry: LogEntry) -> bytes:
    """Attributes that the log driver was asked to keep, percent-encoded: ``a=1,b=2``."""
    from urllib.parse import quote_plus

    pairs = sorted(entry.attributes.items())
    return ",".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs).encode() + b" "


def _stamp(time_ns: int) -> bytes:
    """Nine digits, always: columns stay aligned."""
    seconds, fraction = divmod(time_ns, 10**9)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{fraction:09d}Z ".encode()


def _tail(text: str) -> int | None:
    """All, unless it is a number that is not negative: Docker forgives the rest."""
    return int(text) if text.isascii() and text.isdigit() else None


def _moment(name: str, text: str) -> float | None:
    if not text:
        return None
    moment = parse_moment(text, time.time())
    if moment is None:
        raise Failure(f'invalid value for "{name}": failed to parse value as time or duration: "{text}"')
    return moment


def _write(fd: int, data: bytes) -> None:
    """Straight to the descriptor: a reader that went away is heard of at once."""
    sys.stdout.flush()
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]

"""Showing a transfer: on a terminal, as a plain transcript, as JSON lines.

On a terminal every layer keeps one line. The protocol is that of Docker's client, to the
byte (docker-engine §2.9). For an event of a layer::

    "\\n"                  when the layer is seen for the first time: its line, below the others
    ESC [ <k> A            up to its line: k is how far it is from the end
    ESC [ 2 K  "\\r"        clear it
    <id>: <status> <bar>   one space stays after a status without a bar
    "\\r"  ESC [ <k> B      back down

A message is a line of its own and ends the table: the next layer starts a new one. Without
a terminal, states that only count bytes are left out.
"""

from __future__ import annotations

from onggi.cli.output import UNKNOWN_WIDTH, Output
from onggi.cli.units import human_size
from onggi.progress import LayerProgress, Message, ProgressEvent, ProgressSink, discard

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.cli.session import Session

__all__ = [
    "JSONProgress",
    "PlainProgress",
    "TerminalProgress",
    "progress_bar",
    "progress_kind",
    "progress_sink",
]

# The bar needs more columns than this; on narrower terminals only sizes are shown.
_BAR_MIN_WIDTH = 110
_BAR_LENGTH = 50


def progress_kind(session: Session) -> str:
    """What ``--json``, ``--quiet`` and ``--progress`` ask for together: a kind of :func:`progress_sink`."""
    if session.flag("json"):
        return "json"
    if session.flag("quiet") and not session.given("progress"):
        return "quiet"
    return str(session.flag("progress"))


def progress_sink(kind: str, out: Output) -> ProgressSink:
    """The sink of ``--progress``: auto, tty, plain, json or quiet."""
    if kind == "auto":
        kind = "tty" if out.is_terminal else "plain"
    if kind == "tty":
        return TerminalProgress(out)
    if kind == "json":
        return JSONProgress(out)
    return PlainProgress(out) if kind == "plain" else discard


def progress_bar(current: int, total: int, width: int) -> str:
    """``[====>   ]  36.4kB/1.065MB``; empty when nothing is counted.

    ``width`` is that of the terminal, in columns.
    """
    if current <= 0 and total <= 0:
        return ""
    if total <= 0:
        return f"{human_size(current):>8}"
    done = min(int(current / total * 100) // 2, _BAR_LENGTH)
    bar = f"[{'=' * done}>{' ' * (_BAR_LENGTH - done)}] " if width > _BAR_MIN_WIDTH else ""
    if current > total:
        return f"{bar}{human_size(current):>8}"
    return f"{bar}{human_size(current):>8}/{human_size(total)}"


class TerminalProgress:
    """One line a layer, changed in place."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._lines: dict[str, int] = {}

    def __call__(self, event: ProgressEvent) -> None:
        """Draw one event."""
        if isinstance(event, Message):
            self._lines.clear()
            self._out.write(_line(event))
        else:
            self._out.write(self._move(event))
        self._out.flush()

    def _move(self, event: LayerProgress) -> str:
        new = event.id not in self._lines
        line = self._lines.setdefault(event.id, len(self._lines))
        up = len(self._lines) - line
        bar = progress_bar(event.current, event.total, self._out.width)
        begin = "\n" if new else ""
        return f"{begin}\x1b[{up}A\x1b[2K\r{event.id}: {event.text} {bar}\r\x1b[{up}B"


class PlainProgress:
    """Docker's transcript without a terminal: states, not bytes."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def __call__(self, event: ProgressEvent) -> None:
        """Write one event, unless it only counts."""
        if isinstance(event, Message):
            self._out.write(_line(event))
        elif event.current <= 0 and event.total <= 0:
            self._out.write(f"{event.id}: {event.text}\n")
        self._out.flush()


class JSONProgress:
    """Docker's progress stream (Engine API ``POST /images/create``), one object a line."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def __call__(self, event: ProgressEvent) -> None:
        """Write one event as an object."""
        self.write(_message(event) if isinstance(event, Message) else _layer(event))

    def write(self, document: dict[str, object]) -> None:
        """Write one object, at once."""
        from onggi.cli.gofmt import go_json

        self._out.write(go_json(document, html=True) + "\n")
        self._out.flush()


def _line(message: Message) -> str:
    return f"{message.id}: {message.text}\n" if message.id else f"{message.text}\n"


def _message(event: Message) -> dict[str, object]:
    return {"status": event.text, "id": event.id} if event.id else {"status": event.text}


def _layer(event: LayerProgress) -> dict[str, object]:
    """Keys in the order of Docker's encoder; zero counts are left out, as there."""
    counts = {"current": event.current, "total": event.total}
    document: dict[str, object] = {
        "status": event.text,
        "progressDetail": {name: count for name, count in counts.items() if count},
    }
    bar = progress_bar(event.current, event.total, UNKNOWN_WIDTH)
    if bar:
        document["progress"] = bar
    return {**document, "id": event.id}

"""What a collector is: opened once, given messages, asked now and then, closed."""

from __future__ import annotations

from onggi.runtime.supervisor.messages import Message

TYPE_CHECKING = False  # a collector runs beside every container that asks for one: it is to be small
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["About", "Collector", "CollectorError", "complain", "text_of"]


class CollectorError(Exception):
    """It cannot be opened; the text is Docker's."""


class About:
    """The container, as log drivers tell it. ``attributes`` are what its options chose."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.id: str = given["id"]
        self.name: str = given["name"]
        self.image_id: str = given["image_id"]
        self.image_name: str = given["image_name"]
        self.command: str = given["command"]
        self.created: str = given["created"]
        self.tag: str = given["tag"]
        self.attributes: dict[str, str] = given["attributes"]


class Collector(Protocol):
    """Takes messages to where they go. Nothing but :meth:`open` fails: what cannot be sent is told on
    standard error, and dropped."""

    def open(self) -> None:
        """Connect. Raises CollectorError."""

    def send(self, message: Message) -> None:
        """One message; may take a while, but not for ever."""

    def wait_s(self) -> float | None:
        """Seconds after which :meth:`tick` wants to be called though nothing comes; None: it does not."""

    def tick(self) -> None:
        """Time has passed."""

    def close(self) -> None:
        """Send what waits, and let go."""


def complain(text: str) -> None:
    """To the supervisor's log."""
    import sys

    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def text_of(line: bytes) -> str:
    """For forms that take text only."""
    return line.decode("utf-8", "replace")

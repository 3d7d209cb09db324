"""``engine.events``: what happened, and what happens."""

from __future__ import annotations

import time
from collections.abc import Iterator

from onggi.cancel import CancelToken
from onggi.engine.core import Core
from onggi.engine.filters import Filters, InvalidFilter
from onggi.store.journal import Event

__all__ = ["Events"]

# Seconds between two looks at the journal while following.
_POLL_S = 0.1
_KNOWN = ("action", "event", "image", "label", "type")


class Events:
    """Reads the journal; needs no daemon and no root beyond reading the data root."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def read(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        filters: Filters | None = None,
        follow: bool = True,
        cancel: CancelToken | None = None,
    ) -> Iterator[Event]:
        """Events, oldest first: those on record from ``since`` on, then (``follow``) those to come.

        Without ``since`` only what comes is told, as with Docker; ``until`` (seconds since
        1970) ends the stream. Raises InvalidFilter.
        """
        _check(filters or {})
        token = cancel or CancelToken()
        tail = self._core.journal.follow()
        if since is not None or not follow:
            yield from self._selected(self._core.journal.read(), since, until, filters)
        while follow and not token.cancelled:
            yield from self._selected(iter(tail.read()), since, until, filters)
            if until is not None and time.time() >= until:
                return
            token.sleep(_POLL_S)

    def _selected(
        self, events: Iterator[Event], since: float | None, until: float | None, filters: Filters | None
    ) -> Iterator[Event]:
        for event in events:
            seconds = event.time_ns / 1e9
            in_time = (since is None or seconds >= since) and (until is None or seconds <= until)
            if in_time and _matches(event, filters or {}):
                yield event


def _check(filters: Filters) -> None:
    for key in filters:
        if key not in _KNOWN:
            raise InvalidFilter(f"invalid filter '{key}'", hint=f"known filters: {', '.join(_KNOWN)}")


def _matches(event: Event, filters: Filters) -> bool:
    return all(any(_has(event, key, value) for value in values) for key, values in filters.items())


def _has(event: Event, key: str, value: str) -> bool:
    if key in ("event", "action"):
        return event.action == value
    if key == "type":
        return event.type == value
    if key == "image":
        names = (event.id, event.attributes.get("name", ""))
        return value in names or any(name.split(":")[0] == value for name in names)
    name, equals, wanted = value.partition("=")
    return name in event.attributes and (not equals or event.attributes[name] == wanted)

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
_OBJECTS = ("container", "daemon", "network", "volume")
_KNOWN = ("action", "container", "daemon", "event", "image", "label", "network", "scope", "type", "volume")
# Actions that say more after a colon are asked for without it.
_SPOKEN = ("health_status", "exec_create", "exec_start")


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
    """Docker's rules (moby ``daemon/events/filter.go``)."""
    if key in ("event", "action"):
        return event.action == value or (value in _SPOKEN and event.action.startswith(value))
    if key == "type":
        return event.type == value
    if key == "scope":
        return value == "local"
    if key == "image":
        return _is_of_image(event, value)
    if key in _OBJECTS:
        names = (event.id, event.attributes.get("name", ""))
        return event.type == key and any(name.startswith(value) for name in names)
    name, equals, wanted = value.partition("=")
    return name in event.attributes and (not equals or event.attributes[name] == wanted)


def _is_of_image(event: Event, value: str) -> bool:
    """Of the image itself, or of a container that was made of it; a name without its tag means every tag."""
    name = event.attributes.get("name" if event.type == "image" else "image", "")
    names = (event.id, name)
    return value in names or any(each.split(":")[0] == value for each in names)

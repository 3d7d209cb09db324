"""``onggi events``: what happened and what happens, one line an event."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from onggi.cli.gofmt import Record, go_json, quote
from onggi.cli.session import Session
from onggi.cli.template import compile_template
from onggi.cli.units import event_time
from onggi.errors import InvalidArgument
from onggi.oci.timestamps import parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from onggi.store.journal import Event

__all__ = ["run"]


def run(session: Session) -> int:
    """Print events until ``--until``, or for ever."""
    since, until = (_moment(session, name) for name in ("since", "until"))
    show = _show(session)
    for event in session.engine.events.read(since=since, until=until, filters=session.filters):
        session.out.write(show(event) + "\n")
        session.out.flush()
    return 0


def _moment(session: Session, name: str) -> float | None:
    text = session.flag(name)
    if not text:
        return None
    moment = parse_moment(text, time.time())
    if moment is None:
        raise InvalidArgument(
            f"failed to parse value as time or duration: {quote(text)}",
            hint=f"--{name} takes a date, a Unix time, or a duration back from now: 10m, 1h30m",
        )
    return moment


def _show(session: Session) -> Callable[[Event], str]:
    format = session.flag("format")
    if session.flag("json") or format == "json":
        return lambda event: go_json(event.to_json())
    if format:
        execute = compile_template(format)
        return lambda event: execute(_record(event))
    return _line


def _record(event: Event) -> Record:
    """The event under the names of Go's ``events.Message``."""
    actor = Record.of("events.Actor", {"ID": event.id, "Attributes": dict(event.attributes)})
    seconds = event.time_ns // 10**9
    fields = {
        "Status": event.action,
        "ID": event.id,
        "From": "",
        "Type": event.type,
        "Action": event.action,
        "Actor": actor,
        "Scope": "local",
        "Time": seconds,
        "TimeNano": event.time_ns,
    }
    return Record("*events.Message", list(fields), fields.__getitem__, json=event.to_json)


def _line(event: Event) -> str:
    """Docker's line: time with nine digits, type, action, id, attributes sorted."""
    attributes = ", ".join(f"{name}={value}" for name, value in sorted(event.attributes.items()))
    suffix = f" ({attributes})" if attributes else ""
    return f"{event_time(event.time_ns)} {event.type} {event.action} {event.id}{suffix}"

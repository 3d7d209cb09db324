"""``onggi events``: what happened and what happens, one line an event."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from onggi.cli.gofmt import go_json
from onggi.cli.session import Session
from onggi.cli.template import compile_template
from onggi.errors import InvalidArgument
from onggi.oci.timestamps import format_ns, parse_moment

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
            f"invalid --{name} {text!r}", hint="a time, a Unix time, or a duration back from now (10m, 1h30m)"
        )
    return moment


def _show(session: Session) -> Callable[[Event], str]:
    format = session.flag("format")
    if session.flag("json") or format == "json":
        return lambda event: go_json(event.to_json())
    if format:
        execute = compile_template(format)
        return lambda event: execute(event.to_json())
    return _line


def _line(event: Event) -> str:
    """Docker's line: time with nine digits, type, action, id, attributes sorted."""
    attributes = ", ".join(f"{name}={value}" for name, value in sorted(event.attributes.items()))
    suffix = f" ({attributes})" if attributes else ""
    whole = format_ns(event.time_ns // 10**9 * 10**9).removesuffix("Z")
    stamp = f"{whole}.{event.time_ns % 10**9:09d}Z"
    return f"{stamp} {event.type} {event.action} {event.id}{suffix}"

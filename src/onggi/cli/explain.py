"""``onggi explain``: what an id, a digest, a name or a path is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onggi.cli.session import Session
from onggi.errors import Cancelled, OnggiError

if TYPE_CHECKING:
    from onggi.engine.explain import Explanation

__all__ = ["run"]

_USERS_SHOWN = 12


def run(session: Session) -> int:
    """Explain every argument; what nothing is known of makes the status 1."""
    found: list[Explanation] = []
    errors: list[OnggiError] = []
    for text in session.arguments:
        try:
            found += _all(session, text)
        except Cancelled:
            raise
        except OnggiError as error:
            errors.append(error)
    _show(session, found)
    session.out.flush()
    for failure in errors:
        session.report(failure)
    return int(bool(errors))


def _all(session: Session, text: str) -> list[Explanation]:
    from onggi.engine.explain import NothingKnown

    meanings = session.engine.explain_all(text)
    if not meanings:
        raise NothingKnown(text)
    return meanings


def _show(session: Session, found: list[Explanation]) -> None:
    format = session.flag("format")
    if session.flag("json") or format == "json":
        session.write_json([_json(item) for item in found])
    elif format:
        from onggi.cli.gofmt import Record
        from onggi.cli.template import compile_template

        execute = compile_template(format)
        session.out.write("".join(execute(Record.of("explanation", _json(item))) + "\n" for item in found))
    else:
        session.out.write("\n".join(_text(item) for item in found))


def _text(item: Explanation) -> str:
    lines = [f"{item.kind}  {item.id}", f"  {item.title}", ""]
    width = max((len(name) for name, _ in item.facts), default=0) + 2
    lines += [f"  {name.ljust(width)}{value}" for name, value in item.facts]
    if item.used_by:
        more = len(item.used_by) - _USERS_SHOWN
        shown = ", ".join(item.used_by[:_USERS_SHOWN]) + (f" and {more} more" if more > 0 else "")
        lines.append(f"  {'used by'.ljust(width)}{shown}")
    if item.how:
        lines += ["", f"  {item.how}"]
    return "\n".join(lines) + "\n"


def _json(item: Explanation) -> dict[str, Any]:
    return {
        "Kind": item.kind,
        "Id": item.id,
        "Title": item.title,
        "How": item.how,
        "Facts": dict(item.facts),
        "UsedBy": list(item.used_by),
    }

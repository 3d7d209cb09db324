"""``onggi rmi`` and ``onggi image prune``."""

from __future__ import annotations

from collections.abc import Iterable

from onggi.cli.session import Session
from onggi.cli.units import human_size
from onggi.errors import Cancelled, NotFound, OnggiError

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.engine.removal import Removed

__all__ = ["run", "run_prune"]

_DANGLING = "WARNING! This will remove all dangling images."
_UNUSED = "WARNING! This will remove all images without at least one container associated to them."


def run(session: Session) -> int:
    """Remove images; all are tried, and errors are told at the end.

    Status 1 when one failed, except that ``--force`` forgives names that are not there.
    """
    removed: list[Removed] = []
    errors: list[OnggiError] = []
    force = session.flag("force")
    for name in session.arguments:
        try:
            effects = session.engine.images.remove(name, force=force, prune=not session.flag("no-prune"))
        except Cancelled:
            raise
        except OnggiError as error:
            errors.append(error)
            continue
        removed += effects
        if not session.flag("json"):
            session.out.write("".join(f"{verb}: {what}\n" for verb, what in _effects(effects)))
    if session.flag("json"):
        session.write_json([{verb: what} for verb, what in _effects(removed)])
    session.out.flush()
    for failure in errors:
        session.report(failure)
    return int(any(not (force and isinstance(error, NotFound)) for error in errors))


def _effects(removed: Iterable[Removed]) -> list[tuple[str, str]]:
    return [
        ("Untagged", effect.untagged) if effect.untagged is not None else ("Deleted", effect.deleted or "")
        for effect in removed
    ]


def run_prune(session: Session) -> int:
    """Remove unused images, after a question unless ``--force``."""
    all = session.flag("all")
    if not session.flag("force") and not session.confirm(_UNUSED if all else _DANGLING):
        return 0
    report = session.engine.images.prune(all=all, filters=session.filters)
    effects = _effects(report.removed)
    if session.flag("json"):
        deleted = [{verb: what} for verb, what in effects]
        session.write_json({"ImagesDeleted": deleted, "SpaceReclaimed": report.space_reclaimed_bytes})
        return 0
    if effects:
        lines = "".join(f"{verb.lower()}: {what}\n" for verb, what in effects)
        session.out.write(f"Deleted Images:\n{lines}\n")
    session.out.write(f"Total reclaimed space: {human_size(report.space_reclaimed_bytes)}\n")
    return 0

"""Commands that do one thing to each container named: start, stop, kill, wait, rm, …"""

from __future__ import annotations

from collections.abc import Callable

from onggi.cli.session import Failure, Session
from onggi.errors import Cancelled, Conflict, NotFound, OnggiError

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.engine.containers.container import Container

__all__ = [
    "attach",
    "kill",
    "pause",
    "prune",
    "remove",
    "rename",
    "restart",
    "start",
    "stop",
    "unpause",
    "wait",
]


def _each(session: Session, act: Callable[[Container], str | None], *, forgive: bool = False) -> int:
    """All are tried. What ``act`` gives is printed (None: the name); errors are told at the end.

    ``forgive``: names that are not there are told, and are no failure.
    """
    errors: list[OnggiError] = []
    for name in session.arguments:
        try:
            said = act(session.engine.containers.get(name))
        except Cancelled:
            raise
        except OnggiError as error:
            errors.append(error)
            continue
        session.out.write(f"{name if said is None else said}\n")
        session.out.flush()
    for failure in errors:
        session.report(failure)
    return int(any(not (forgive and isinstance(error, NotFound)) for error in errors))


def start(session: Session) -> int:
    """Start containers; with ``-a`` or ``-i`` one, and be with it."""
    if session.flag("attach") or session.flag("interactive"):
        return _start_attached(session)
    return _each(session, lambda container: _started(session, container))


def _started(session: Session, container: Container) -> None:
    for warning in container.start().warnings:
        session.err.write(f"WARNING: {warning}\n")


def _start_attached(session: Session) -> int:
    from onggi.cli.attached import join_container
    from onggi.cli.detach_keys import detach_keys
    from onggi.engine.containers.attach_request import AttachRequest

    if len(session.arguments) > 1:
        raise Failure("you cannot start and attach multiple containers at once")
    container = session.engine.containers.get(session.arguments[0])
    config = container.stored.config
    tty = bool(config.get("Tty"))
    stdin = bool(session.flag("interactive") and config.get("OpenStdin"))
    keys = detach_keys(session)
    removes = container.stored.auto_remove
    started = container.start(AttachRequest(stdin, removes=removes))
    assert started.attached is not None
    with started.attached as attached:
        status = join_container(container, attached, stdin=stdin, tty=tty, keys=keys, proxy=not tty)
    if status is None:
        return 0
    if removes:
        try:
            container.remove(force=True)
        except NotFound:
            return status  # another command was quicker
    return status


# States in which there is nothing to join, and the way out of each.
_CANNOT_ATTACH = {"paused": "unpause it first", "restarting": "wait until it is running"}


def attach(session: Session) -> int:
    """Join the streams of a running container; the status is that of its program."""
    from onggi.cli.attached import LET_GO, check_terminal, join_container
    from onggi.cli.detach_keys import detach_keys

    container = session.engine.containers.get(session.arguments[0])
    status = container.status
    if status in _CANNOT_ATTACH:
        raise Failure(f"You cannot attach to a {status} container, {_CANNOT_ATTACH[status]}")
    config = container.stored.config
    tty, wanted = bool(config.get("Tty")), not session.flag("no-stdin")
    stdin = wanted and bool(config.get("OpenStdin"))
    with container.attach(stdin=stdin) as attached:
        check_terminal(stdin=wanted, tty=tty)
        keys, proxy = detach_keys(session), session.flag("sig-proxy") and not tty
        code = join_container(container, attached, stdin=stdin, tty=tty, keys=keys, proxy=proxy)
    if code is None:
        raise Failure(LET_GO)
    return code


def stop(session: Session) -> int:
    """Stop containers."""
    timeout = _timeout(session)
    return _each(session, lambda container: container.stop(timeout, session.flag("signal") or None))


def restart(session: Session) -> int:
    """Stop containers and start them again."""
    timeout = _timeout(session)
    return _each(session, lambda container: container.restart(timeout, session.flag("signal") or None))


def _timeout(session: Session) -> int | None:
    """Seconds, under the flag's name of today or its old one; None when nothing is said. Raises Failure."""
    names = [name for name in ("timeout", "time") if session.given(name)]
    if len(names) > 1:
        raise Failure("conflicting options: cannot specify both --timeout and --time")
    return session.flag(names[0]) if names else None


def kill(session: Session) -> int:
    """Signal containers."""
    return _each(session, lambda container: container.kill(session.flag("signal") or "KILL"))


def pause(session: Session) -> int:
    """Freeze containers."""
    return _each(session, lambda container: container.pause())


def unpause(session: Session) -> int:
    """Let frozen containers go on."""
    return _each(session, lambda container: container.unpause())


def wait(session: Session) -> int:
    """Wait for containers, and print their exit codes."""
    return _each(session, lambda container: str(container.wait()))


def remove(session: Session) -> int:
    """Remove containers."""
    force, volumes = session.flag("force"), session.flag("volumes")
    if session.flag("link"):
        return _each(session, _remove_link)
    return _each(session, lambda container: container.remove(force=force, volumes=volumes), forgive=force)


def _remove_link(container: Container) -> str | None:
    """A container's name is the one link it has here."""
    raise Conflict("Conflict, cannot remove the default link name of the container", hint="leave out --link")


def rename(session: Session) -> int:
    """Give a container another name."""
    old, new = session.arguments
    session.engine.containers.get(old).rename(new)
    return 0


def prune(session: Session) -> int:
    """Remove containers that do not run, after a question unless ``--force``."""
    from onggi.cli.units import human_size

    if not session.flag("force") and not session.confirm("WARNING! This will remove all stopped containers."):
        return 0
    report = session.engine.containers.prune(session.filters)
    if session.flag("json"):
        session.write_json({"ContainersDeleted": list(report.ids), "SpaceReclaimed": report.space_bytes})
        return 0
    if report.ids:
        lines = "".join(f"{id}\n" for id in report.ids)
        session.out.write(f"Deleted Containers:\n{lines}\n")
    session.out.write(f"Total reclaimed space: {human_size(report.space_bytes)}\n")
    return 0

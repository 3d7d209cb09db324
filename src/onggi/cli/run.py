"""``onggi run`` and ``onggi create``."""

from __future__ import annotations

import os

from onggi.cli.container_options import create_request, refuse
from onggi.cli.session import Session
from onggi.errors import NotFound, OnggiError

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.engine.containers.container import Container
    from onggi.engine.containers.create import Created, CreateRequest

__all__ = ["create", "run"]

_ENGINE_FAILED = 125


def create(session: Session) -> int:
    """Make a container and print its id."""
    created = _create(session, create_request(session, detach=False))
    session.out.write(f"{created.id}\n")
    return 0


def run(session: Session) -> int:
    """Make a container and be with it, or leave it alone; the status is that of its program."""
    try:
        return _run(session)
    except OnggiError as error:
        session.out.flush()
        session.report(error)
        return int(getattr(error, "exit_code", 0)) or _ENGINE_FAILED


def _run(session: Session) -> int:
    detach = session.flag("detach")
    request = create_request(session, detach=detach)
    if not detach:
        from onggi.cli.attached import check_terminal

        check_terminal(stdin=bool(request.config["AttachStdin"]), tty=bool(request.config["Tty"]))
    created = _create(session, request)
    container = session.engine.containers.get(created.id)
    streams = [name for name in ("Stdin", "Stdout", "Stderr") if request.config[f"Attach{name}"]]
    if detach or not streams:
        _warn(session, session.engine.containers.start_created(created.id, None).warnings)
        session.out.write(f"{created.id}\n")
        return 0
    return _run_attached(session, container, request)


def _run_attached(session: Session, container: Container, request: CreateRequest) -> int:
    from onggi.cli.attached import join_container, parse_keys
    from onggi.engine.containers.start import AttachRequest

    config = request.config
    keys = parse_keys(session.flag("detach-keys"))
    removes = bool(request.host_config.get("AutoRemove"))
    wanted = AttachRequest(
        bool(config["AttachStdin"]), bool(config["AttachStdout"]), bool(config["AttachStderr"]), removes
    )
    started = session.engine.containers.start_created(container.id, wanted)
    _warn(session, started.warnings)
    assert started.attached is not None
    tty, proxy = bool(config["Tty"]), session.flag("sig-proxy")
    with started.attached as attached:
        status = join_container(container, attached, stdin=wanted.stdin, tty=tty, keys=keys, proxy=proxy)
    if status is None:
        return 0
    if removes:
        _remove(container)
    return status


def _remove(container: Container) -> None:
    try:
        container.remove(force=True)
    except NotFound:
        return  # its supervisor, or another command, was quicker


def _create(session: Session, request: CreateRequest) -> Created:
    """Pull the image first where that is asked for, or where it is not here."""
    path = session.flag("cidfile")
    if path and os.path.exists(path):
        raise refuse(
            session, f"container ID file found, make sure the other container isn't running or delete {path}"
        )
    created = _create_pulling(session, request)
    _warn(session, created.warnings)
    if path:
        with open(path, "x", encoding="ascii") as file:
            file.write(created.id)
    return created


def _create_pulling(session: Session, request: CreateRequest) -> Created:
    from onggi.engine.names import ImageNotFound

    containers, pull = session.engine.containers, session.flag("pull")
    if pull == "always":
        _pull(session, str(request.config["Image"]))
    try:
        return containers.create_as(request)
    except ImageNotFound:
        if pull != "missing":
            raise
    session.err.write(f"Unable to find image '{_tagged(str(request.config['Image']))}' locally\n")
    session.err.flush()
    _pull(session, str(request.config["Image"]))
    return containers.create_as(request)


def _tagged(name: str) -> str:
    from onggi.oci.reference import Reference

    return Reference.parse(name).tagged().familiar


def _pull(session: Session, name: str) -> None:
    """The same as ``pull``, told on standard error: standard output is the container's."""
    from onggi.cli.background import run_watched
    from onggi.cli.progress import progress_sink
    from onggi.oci.reference import Reference

    images = session.engine.images
    reference = str(Reference.parse(name).tagged())
    platform = session.flag("platform") or None
    kind = "quiet" if session.flag("quiet") else "auto"
    run_watched(
        lambda sink, cancel: images.pull(reference, platform=platform, progress=sink, cancel=cancel),
        progress_sink(kind, session.err),
    )


def _warn(session: Session, warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        session.err.write(f"WARNING: {warning}\n")
    session.err.flush()

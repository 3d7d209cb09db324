"""``onggi run`` and ``onggi create``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from onggi.cli.command import PROGRAM
from onggi.cli.session import Failure, Session
from onggi.errors import Conflict, NotFound, OnggiError, Unsupported
from onggi.runtime.launch import NewSupervisor

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.engine.containers.container import Container
    from onggi.engine.containers.create import Created, CreateRequest

__all__ = ["create", "run"]

_ENGINE_FAILED, _NOT_FOUND = 125, 127


def create(session: Session) -> int:
    """Make a container and print its id."""
    from onggi.cli.container_options import create_request

    created = _create(session, create_request(session, detach=False))
    session.out.write(f"{created.id}\n")
    return 0


def run(session: Session) -> int:
    """Make a container and be with it, or leave it alone; the status is that of its program."""
    try:
        # Before anything else is loaded: both take their time.
        with NewSupervisor(_load_the_rest) as supervisor:
            return _run(session, supervisor)
    except OnggiError as error:
        session.out.flush()
        session.report(error)
        return _status(error)


def _load_the_rest() -> None:
    """What the end needs, loaded while the container starts."""
    import shutil
    import threading

    from onggi.engine.containers import ending

    del ending, shutil, threading


def _status(error: OnggiError) -> int:
    """Docker's command line reads it from the words of an error; what is missing may be a device, too."""
    from onggi.runtime.oci_runtime import NotExecutable, ProgramNotFound, RuntimeFailed

    if isinstance(error, RuntimeFailed) and error.run_status:
        return error.run_status
    if isinstance(error, ProgramNotFound | NotExecutable | RuntimeFailed):
        not_run = (NotExecutable.exit_code, ProgramNotFound.exit_code)
        return error.exit_code if error.exit_code in not_run else _ENGINE_FAILED
    if isinstance(error.__cause__, FileNotFoundError):
        return ProgramNotFound.exit_code
    return NotExecutable.exit_code if isinstance(error.__cause__, PermissionError) else _ENGINE_FAILED


def _run(session: Session, supervisor: NewSupervisor) -> int:
    from onggi.cli.container_options import create_request

    detach = session.flag("detach")
    request = create_request(session, detach=detach)
    if not detach:
        from onggi.cli.attached import check_terminal

        check_terminal(stdin=bool(request.config["AttachStdin"]), tty=bool(request.config["Tty"]))
    created = _create(session, request)
    container = session.engine.containers.get(created.id)
    streams = [name for name in ("Stdin", "Stdout", "Stderr") if request.config[f"Attach{name}"]]
    if detach or not streams:
        # Told whether or not it starts: who cannot start it will want to look at it.
        session.out.write(f"{created.id}\n")
        _warn(session, session.engine.containers.start_created(created.id, None, supervisor).warnings)
        return 0
    return _run_attached(session, container, request, supervisor)


def _run_attached(
    session: Session, container: Container, request: CreateRequest, supervisor: NewSupervisor
) -> int:
    from onggi.cli.attached import join_container
    from onggi.cli.detach_keys import detach_keys
    from onggi.engine.containers.attach_request import AttachRequest

    config = request.config
    keys = detach_keys(session)
    removes = bool(request.host_config.get("AutoRemove"))
    wanted = AttachRequest(
        bool(config["AttachStdin"]), bool(config["AttachStdout"]), bool(config["AttachStderr"]), removes
    )
    started = session.engine.containers.start_created(container.id, wanted, supervisor)
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
        container.remove()
    except (NotFound, Conflict):
        return  # its supervisor, or another command, was quicker; or it was restarted meanwhile


def _create(session: Session, request: CreateRequest) -> Created:
    """Pull the image first where that is asked for, or where it is not here."""
    with _cidfile(session) as write:
        created = _create_pulling(session, request)
        write(created.id)
    _warn(session, created.warnings)
    return created


@contextmanager
def _cidfile(session: Session) -> Iterator[Callable[[str], object]]:
    """Made first, so that a container never lacks its file; taken back when there is no container."""
    path = session.flag("cidfile")
    if not path:
        yield lambda id: None
        return
    try:
        file = open(path, "x", encoding="ascii")  # noqa: SIM115  closed below
    except FileExistsError as error:
        text = f"container ID file found, make sure the other container isn't running or delete {path}"
        raise _cidfile_failure(session, text, _ENGINE_FAILED) from error
    except OSError as error:
        text = f"failed to create the container ID file: open {path}: {(error.strerror or '').lower()}"
        missing = isinstance(error, FileNotFoundError)
        status = _NOT_FOUND if missing else _ENGINE_FAILED
        raise _cidfile_failure(session, text, status) from error
    try:
        with file:
            yield file.write
    except BaseException:
        os.unlink(path)
        raise


def _cidfile_failure(session: Session, text: str, status: int) -> Failure:
    """``create`` ends with 1, as for everything its daemon would say."""
    return Failure(f"{PROGRAM}: {text}", status if session.path.endswith("run") else 1)


def _create_pulling(session: Session, request: CreateRequest) -> Created:
    from onggi.engine.containers.create import OtherPlatform
    from onggi.engine.names import ImageNotFound

    if not session.flag("disable-content-trust"):
        raise Unsupported("content trust: no notary server is asked here", hint="leave the flag out")
    containers, pull = session.engine.containers, session.flag("pull")
    if pull == "always":
        _pull(session, str(request.config["Image"]))
    try:
        return containers.create_as(request)
    except (ImageNotFound, OtherPlatform):
        if pull != "missing":
            raise
    session.err.write(f"Unable to find image '{_tagged(str(request.config['Image']))}' locally\n")
    session.err.flush()
    _pull(session, str(request.config["Image"]))
    try:
        return containers.create_as(request)
    except OtherPlatform as error:
        session.err.write(f"WARNING: {error.about(_canonical(str(request.config['Image'])))}\n")
        raise


def _canonical(name: str) -> str:
    from onggi.oci.reference import Reference

    return Reference.parse(name).name


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

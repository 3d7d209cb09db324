"""``onggi cp``: between a container and this host."""

from __future__ import annotations

import os

from onggi.cli.session import Failure, Session
from onggi.cli.units import human_size

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.engine.containers.copying import ContainerFiles

__all__ = ["run", "split_path"]


def run(session: Session) -> int:
    """Copy into a container, or out of one; ``-`` is a tar stream."""
    (source_name, source), (target_name, target) = map(split_path, session.arguments)
    if source_name and target_name:
        raise Failure("copying between containers is not supported")
    if not (source_name or target_name):
        raise Failure("must specify at least one container source")
    files = session.engine.containers.get(source_name or target_name).files(source_name or target_name)
    if source_name:
        return _copy_out(session, files, source, target)
    return _copy_in(session, files, source, target)


def split_path(text: str) -> tuple[str, str]:
    """Container and path of ``name:path``; no container for a path of this host."""
    name, colon, path = text.partition(":")
    if text.startswith(("/", ".")) or not colon:
        # What begins with a dot or a slash is a path, whatever colons are in it.
        return "", text
    return name, path


def _copy_out(session: Session, files: ContainerFiles, source: str, target: str) -> int:
    follow = session.flag("follow-link")
    if target == "-":
        for piece in files.archive(source, follow=follow):
            session.out.write_bytes(piece)
        return 0
    copied = files.copy_out(source, target, follow=follow)
    _tell(session, copied, os.path.abspath(target))
    return 0


def _copy_in(session: Session, files: ContainerFiles, source: str, target: str) -> int:
    archive = session.flag("archive")
    if source == "-":
        with open(0, "rb", buffering=0, closefd=False) as stream:
            files.extract_stream(stream, target, archive=archive)
        return 0
    copied = files.copy_in(source, target, follow=session.flag("follow-link"), archive=archive)
    _tell(session, copied, session.arguments[1])
    return 0


def _tell(session: Session, copied: int, where: str) -> None:
    quiet = session.flag("quiet") if session.given("quiet") else not session.out.is_terminal
    if not quiet:
        session.err.write(f"Successfully copied {human_size(copied, 3)} to {where}\n")

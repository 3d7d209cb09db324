"""``onggi exec``."""

from __future__ import annotations

from onggi.cli.environment_files import read_environment
from onggi.cli.session import Failure, Session
from onggi.errors import OnggiError
from onggi.runtime.oci_runtime import NotExecutable, ProgramNotFound, RuntimeFailed
from onggi.runtime.user import UserNotFound

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.engine.containers.container import Container
    from onggi.engine.containers.executions import ExecOptions

__all__ = ["run"]

_CANNOT_EXECUTE = 126


def run(session: Session) -> int:
    """Run a further process in a container; the status is its own, 126 or 127 when it cannot be run."""
    try:
        return _run(session)
    except ProgramNotFound as error:
        session.report(error)
        # Docker 20.10 tells programs that are not there by the same status.
        return _CANNOT_EXECUTE if session.engine.config.compat == "20.10" else error.exit_code
    except (NotExecutable, RuntimeFailed, UserNotFound) as error:
        session.report(error)
        return _CANNOT_EXECUTE
    except OnggiError as error:
        session.report(error)
        return 1


def _run(session: Session) -> int:
    from onggi.cli.attached import check_terminal, terminal_size
    from onggi.engine.containers.executions import ExecOptions

    name, *command = session.arguments
    tty, stdin, detach = session.flag("tty"), session.flag("interactive"), session.flag("detach")
    if not detach:
        check_terminal(stdin=stdin, tty=tty)
    options = ExecOptions(
        tuple(command),
        _environment(session),
        session.flag("user"),
        session.flag("workdir"),
        tty,
        stdin,
        session.flag("privileged"),
        terminal_size() if tty else (0, 0),
    )
    container = session.engine.containers.get(name)
    if detach:
        container.execute_detached(options)
        return 0
    return _joined(session, container, options)


def _environment(session: Session) -> tuple[str, ...]:
    try:
        return tuple(read_environment(session))
    except ValueError as error:
        raise Failure(str(error)) from error


def _joined(session: Session, container: Container, options: ExecOptions) -> int:
    from onggi.cli.attached import LET_GO, Detached, Join, join
    from onggi.cli.detach_keys import detach_keys

    keys = detach_keys(session)
    with container.execute(options) as execution:
        try:
            join(Join(execution.attached, options.stdin, options.tty, keys, execution.resize, None))
        except Detached:
            raise Failure(LET_GO) from None
        return execution.wait()

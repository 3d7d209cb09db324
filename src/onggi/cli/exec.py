"""``onggi exec``."""

from __future__ import annotations

from onggi.cli.container_options import read_environment
from onggi.cli.session import Session
from onggi.errors import OnggiError
from onggi.runtime.oci_runtime import NotExecutable, ProgramNotFound

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
    except (ProgramNotFound, NotExecutable) as error:
        session.report(error)
        # Docker 20.10 tells programs that are not there by the same status.
        return _CANNOT_EXECUTE if session.engine.config.compat == "20.10" else error.exit_code
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
        tuple(read_environment(session)),
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


def _joined(session: Session, container: Container, options: ExecOptions) -> int:
    from onggi.cli.attached import Detached, Join, join, parse_keys

    keys = parse_keys(session.flag("detach-keys"))
    with container.execute(options) as execution:
        try:
            join(Join(execution.attached, options.stdin, options.tty, keys, execution.resize, None))
        except Detached:
            return 0
        return execution.wait()

"""``onggi login`` and ``logout``: Docker's prompts, warnings and texts."""

from __future__ import annotations

import sys

from onggi.cli.session import Failure, Session
from onggi.errors import OnggiError

__all__ = ["run", "run_logout"]

_HUB = "https://index.docker.io/v1/"
_HUB_INVITATION = (
    "Log in with your Docker ID or email address to push and pull images from Docker Hub. "
    "If you don't have a Docker ID, head over to https://hub.docker.com/ to create one.\n"
    "You can log in with your password or a Personal Access Token (PAT). Using a limited-scope PAT grants "
    "better security and is required for organizations using SSO. "
    "Learn more at https://docs.docker.com/go/access-tokens/\n\n"
)
_OTHER_ACCOUNT = (
    "\n Info -> To login with a different account, run 'onggi logout' followed by 'onggi login'\n\n\n"
)
_INSECURE = "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n"


def run(session: Session) -> int:
    """Prove credentials at a registry and keep them."""
    server = session.arguments[0] if session.arguments else None
    _check_flags(session)
    if not session.flag("username") and not session.flag("password") and _with_known(session, server):
        return 0
    username, password = _credentials(session, server)
    _login(session, server, username, password)
    return 0


def _check_flags(session: Session) -> None:
    if session.given("password"):
        session.err.write(_INSECURE)
        session.err.flush()
        if session.flag("password-stdin"):
            raise Failure("conflicting options: cannot specify both --password and --password-stdin")
    if session.flag("password-stdin") and not session.flag("username"):
        raise Failure("the --password-stdin option requires --username to be set")


def _login(session: Session, server: str | None, username: str, password: str) -> None:
    result = session.engine.auth.login(server, username, password)
    if result.warning:
        session.err.write(f"\n{result.warning}\n")
        session.err.flush()
    session.out.write(f"{result.status}\n")


def _with_known(session: Session, server: str | None) -> bool:
    """Try what is stored, as Docker does; False when there is nothing or it is no longer good."""
    known = session.engine.auth.stored(server)
    if not known.username or not known.password:
        return False
    session.err.write(f"Authenticating with existing credentials... [Username: {known.username}]\n")
    session.err.write(_OTHER_ACCOUNT)
    session.err.flush()
    try:
        _login(session, server, known.username, known.password)
    except OnggiError as error:
        session.err.write(f"Login did not succeed, error: {error}\n")
        session.err.flush()
        return False
    return True


# --- asking -----------------------------------------------------------------------------------


def _credentials(session: Session, server: str | None) -> tuple[str, str]:
    username, password = session.flag("username"), session.flag("password")
    if session.flag("password-stdin"):
        password = sys.stdin.read().rstrip("\r\n") if sys.stdin is not None else ""
    if username and password:
        return username, password
    if sys.stdin is None or not sys.stdin.isatty():
        raise Failure("Error: Cannot perform an interactive login from a non TTY device")
    if not username and server in (None, _HUB, "docker.io"):
        session.out.write(_HUB_INVITATION)
    username = username or _ask(session, "Username: ").strip()
    if not username:
        raise Failure("Error: Non-null Username Required")
    password = password or _ask_hidden(session, "Password: ")
    if not password:
        raise Failure("Error: Password Required")
    return username, password


def _ask(session: Session, question: str) -> str:
    session.out.write(question)
    session.out.flush()
    return sys.stdin.readline().rstrip("\r\n")


def _ask_hidden(session: Session, question: str) -> str:
    """Ask with the terminal's echo off; on again whatever happens."""
    import termios

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    hidden = list(before)
    hidden[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSADRAIN, hidden)
    try:
        return _ask(session, question)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        session.out.write("\n")


def run_logout(session: Session) -> int:
    """Forget credentials; forgetting none is no failure, as with Docker."""
    server = session.arguments[0] if session.arguments else None
    host = server.rpartition("://")[2].partition("/")[0] if server else _HUB
    session.out.write(f"Removing login credentials for {host}\n")
    session.engine.auth.logout(server)
    return 0

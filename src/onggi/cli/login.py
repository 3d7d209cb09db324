"""``onggi login`` and ``logout``: Docker's prompts, warnings and texts."""

from __future__ import annotations

import sys

from onggi.cli.session import Failure, Session

__all__ = ["run", "run_logout"]

_HUB_SHOWN = "https://index.docker.io/v1/"


def run(session: Session) -> int:
    """Prove credentials at a registry and keep them."""
    server = session.arguments[0] if session.arguments else None
    username, password = _credentials(session)
    result = session.engine.auth.login(server, username, password)
    session.err.write(f"\n{result.warning}" if result.warning else "")
    session.err.flush()
    session.out.write(f"{result.status}\n")
    return 0


def _credentials(session: Session) -> tuple[str, str]:
    username, password = session.flag("username"), session.flag("password")
    if session.flag("password-stdin"):
        if password:
            raise Failure("--password and --password-stdin are mutually exclusive")
        if not username:
            raise Failure("Must provide --username with --password-stdin")
        return username, sys.stdin.read().rstrip("\r\n")
    if password:
        session.err.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
        session.err.flush()
    if not (username and password) and not (sys.stdin and sys.stdin.isatty()):
        raise Failure("Error: Cannot perform an interactive login from a non TTY device")
    return username or _ask_name(session), password or _ask_password(session)


def _ask_name(session: Session) -> str:
    session.out.write("Username: ")
    session.out.flush()
    name = sys.stdin.readline().strip()
    if not name:
        raise Failure("Error: username is required")
    return name


def _ask_password(session: Session) -> str:
    from getpass import getpass

    password = getpass("Password: ")
    if not password:
        raise Failure("Error: password is required")
    return password


def run_logout(session: Session) -> int:
    """Forget credentials."""
    server = session.arguments[0] if session.arguments else None
    known = session.engine.auth.logout(server)
    shown = server or _HUB_SHOWN
    if known:
        session.out.write(f"Removing login credentials for {shown}\n")
    else:
        session.out.write(f"Not logged in to {shown}\n")
    return 0

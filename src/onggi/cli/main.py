"""``onggi``: from the words of a command line to a command, and from its end to an exit status.

Exit statuses, Docker's: 0; 1 for what failed; 64 for a template that does not parse; 125 for
flags that do not; 130 after Ctrl-C, 143 after SIGTERM; 141 when the reader of the output went away.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from onggi.cli.command import PROGRAM, Command, Group, Program, named
from onggi.cli.flags import Flag, FlagError, HelpRequested, parse_flags
from onggi.cli.output import Output
from onggi.cli.session import Failure, Session, Terminated
from onggi.cli.table import program as command_table

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["main", "run"]

# Objects made before cycles are looked for: modules and tables are none, and looking through them
# while they are made costs a short command a twentieth of its time.
_COLLECT_AFTER = 50_000
_FAILED, _BAD_TEMPLATE, _USAGE, _BROKEN_PIPE = 1, 64, 125, 141
_INTERRUPTED, _TERMINATED = 130, 143
# Global flags that have a letter or a meaning of their own in commands stay before them.
_ALSO_AFTER_COMMAND = ("config-file", "data-root", "debug", "storage-driver")
_COMPLETE = "__complete"


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    out = Output(sys.stdout.buffer if sys.stdout else None)
    err = Output(sys.stderr.buffer if sys.stderr else None)
    try:
        status = _guarded([os.fsencode(word).decode("utf-8", "surrogateescape") for word in words], out, err)
        out.flush()
        err.flush()
        return status
    except BrokenPipeError:
        _silence()
        return _BROKEN_PIPE
    except OSError as error:
        # What was held back until now did not find room.
        try:
            os.write(2, f"Error: write /dev/stdout: {(error.strerror or str(error)).lower()}\n".encode())
        except OSError:
            pass  # there is no room for that either
        _silence()
        return _FAILED


def main() -> NoReturn:
    """The program: :func:`run`, and the end of the process.

    The engine is closed and everything is flushed by then; taking the interpreter down name
    by name would only cost a user the last milliseconds.
    """
    gc.set_threshold(_COLLECT_AFTER)
    status = run()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)


def _silence() -> None:
    """Let a last flush go nowhere instead of complaining."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


def _guarded(words: list[str], out: Output, err: Output) -> int:
    try:
        return _dispatch(words, out, err)
    except Failure as failure:
        out.flush()
        err.write(f"{failure}\n")
        return failure.status
    except KeyboardInterrupt as interrupt:
        out.flush()
        err.write("\n")
        return _interrupted_by(interrupt)


def _interrupted_by(cause: BaseException | None) -> int:
    return _TERMINATED if isinstance(cause, Terminated) else _INTERRUPTED


def _dispatch(words: list[str], out: Output, err: Output) -> int:
    if words[:1] == [_COMPLETE]:
        from onggi.cli.completion import complete

        return complete(command_table(), words[1:], out)
    program = command_table()
    try:
        values, rest = parse_flags(program.flags, words, interspersed=False)
    except HelpRequested:
        return _show_program(program, out)
    except FlagError as error:
        _usage(str(error), f"{PROGRAM} [OPTIONS] COMMAND [ARG...]", PROGRAM)
    _refuse_host(values)
    if values.get("version"):
        from onggi.version import __version__

        out.write(f"Onggi version {__version__}\n")
        return 0
    if not rest:
        return _show_program(program, err)
    return _command(program, values, rest, out, err)


def _show_program(program: Program, stream: Output) -> int:
    from onggi.cli.help import program_help

    stream.write(program_help(program))
    return 0


def _refuse_host(values: dict[str, Any]) -> None:
    if values.get("host"):
        raise Failure(
            f"Error: -H/--host {values['host'][0]}: there is no daemon to connect to "
            f"({PROGRAM} works on the data root itself: --data-root DIRECTORY)",
            _USAGE,
        )


def _command(program: Program, globals: dict[str, Any], words: list[str], out: Output, err: Output) -> int:
    path, rest = words[0], words[1:]
    group = program.group(path)
    if group is not None:
        if not rest or rest[0].startswith("-"):
            return _group_alone(program, group, rest, out, err)
        path, rest = f"{path} {rest[0]}", rest[1:]
    command = program.find(path)
    if command is None:
        _unknown(program, path, group)
    try:
        flags = [*command.flags, *_late_flags(program, command)]
        values, arguments = parse_flags(flags, rest, interspersed=command.interspersed)
    except HelpRequested:
        return _show_command(command, path, out)
    except FlagError as error:
        _usage(str(error), command.usage_line(path), f"{PROGRAM} {path}")
    _check_arity(command, path, values, len(arguments))
    return _run(Session(program, command, path, arguments, values, _settings(globals, values), out, err))


def _late_flags(program: Program, command: Command) -> list[Flag]:
    taken = {flag.name for flag in command.flags}
    return [
        Flag(flag.name, flag.kind, flag.help, choices=flag.choices)
        for flag in program.flags
        if flag.name in _ALSO_AFTER_COMMAND and flag.name not in taken
    ]


def _settings(globals: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Global flags as Config fields; those after the command win."""
    given = {**globals, **values}
    found = {name.replace("-", "_"): given[name] for name in _ALSO_AFTER_COMMAND if name in given}
    # After 'run' and 'create' the word means the container's.
    return found | ({"storage_opts": globals["storage-opt"]} if globals.get("storage-opt") else {})


def _show_command(command: Command, path: str, out: Output) -> int:
    from onggi.cli.help import command_help

    out.write(command_help(command, path))
    return 0


def _group_alone(program: Program, group: Group, rest: list[str], out: Output, err: Output) -> int:
    from onggi.cli.help import group_help

    stream = err
    try:
        parse_flags((), rest)
    except HelpRequested:
        stream = out
    except FlagError as error:
        _usage(str(error), f"{PROGRAM} {group.name}", f"{PROGRAM} {group.name}")
    stream.write(group_help(program, group))
    return 0


# --- what went wrong with the words -------------------------------------------------------------


def _usage(reason: str, usage: str, caller: str) -> NoReturn:
    raise Failure(f"{reason}\n\nUsage:  {usage}\n\nRun '{caller} --help' for more information", _USAGE)


def _check_arity(command: Command, path: str, values: dict[str, Any], count: int) -> None:
    """Docker's complaint about the number of arguments. Raises Failure."""
    arities = (arity for name, arity in command.arity_with.items() if values.get(name))
    complaint = next(arities, command.arity).complaint(count)
    if complaint:
        caller = f"{PROGRAM} {path}"
        raise Failure(
            f"{PROGRAM}: '{caller}' {complaint}\n\nUsage:  {command.usage_line(path)}\n\n"
            f"Run '{caller} --help' for more information"
        )


def _unknown(program: Program, path: str, group: Group | None) -> NoReturn:
    from difflib import get_close_matches

    *words, wrong = path.split(" ")
    known = program.top() if group is None else dict(program.members(group))
    close = get_close_matches(wrong, known, n=1, cutoff=0.7)
    text = f"{PROGRAM}: unknown command: {PROGRAM} {path}\n\n"
    if close:
        text += f"Did you mean '{' '.join((PROGRAM, *words, close[0]))}'?\n\n"
    caller = PROGRAM
    if group is not None:
        caller = f"{PROGRAM} {group.name}"
        text += f"Usage:  {caller}\n\n"
    raise Failure(f"{text}Run '{caller} --help' for more information")


# --- running ------------------------------------------------------------------------------------


def _run(session: Session) -> int:
    try:
        return int(named(session.command.run)(session))
    except (Failure, BrokenPipeError):
        raise
    except Exception as error:
        session.out.flush()
        if session.settings.get("debug"):
            import traceback

            session.err.write(traceback.format_exc())
        return _failed(session, error)
    finally:
        session.close()


def _failed(session: Session, error: Exception) -> int:
    """The one place where errors become words and an exit status."""
    from onggi.cli.template import TemplateError, TemplateSyntaxError
    from onggi.errors import Cancelled, OnggiError

    if isinstance(error, OnggiError):
        session.report(error)
        return _interrupted_by(error.__context__) if isinstance(error, Cancelled) else _FAILED
    if isinstance(error, TemplateError | TemplateSyntaxError):
        session.err.write(f"template parsing error: {error}\n")
        return _BAD_TEMPLATE if isinstance(error, TemplateSyntaxError) else _FAILED
    if isinstance(error, OSError) and error.strerror:
        where = f": {os.fsdecode(error.filename)}" if error.filename is not None else ""
        session.err.write(f"Error: {error.strerror.lower()}{where}\n")
        return _FAILED
    fault = f"{type(error).__name__}: {error}"
    session.err.write(f"Error: {fault} (this is a fault in onggi; --debug shows where)\n")
    return _FAILED

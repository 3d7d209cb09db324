"""Help in the layout of Docker's command line, and the same as Markdown."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onggi.cli.command import PROGRAM, Command, Group, Program
from onggi.cli.flags import Flag

if TYPE_CHECKING:
    from onggi.cli.session import Session

__all__ = ["command_help", "group_help", "markdown", "program_help", "run", "usage_line"]

# Columns where the terminal does not tell, and what Docker keeps free of them.
_DEFAULT_WIDTH, _MARGIN = 80, 1
_NAME_WIDTH = 11
# pflag's wrapping: text narrower than this moves under the flag; lines may run over a little.
_LEAST_TEXT, _FALLBACK_INDENT, _SLOP = 24, 16, 5

_EXAMPLES = (
    ("pull nginx", "fetch an image, or go on fetching it"),
    ("pull --plan python:3.11", "what would that cost?"),
    ("layers nginx", "from image to blob to directory"),
    ("explain c4f8e1e649d2", "what is this id?"),
)


def run(session: Session) -> int:
    """``onggi help [COMMAND]``."""
    program = session.program
    if session.flag("markdown"):
        session.out.write(markdown(program))
        return 0
    path = " ".join(session.arguments)
    command, group = program.find(path), program.group(path)
    if not path:
        session.out.write(program_help(program))
    elif command is not None:
        session.out.write(command_help(command, path))
    elif group is not None:
        session.out.write(group_help(program, group))
    else:
        session.err.write(f"unknown help topic: {session.arguments[-1]}\n")
        return 1
    return 0


def program_help(program: Program) -> str:
    """The first page."""
    top = program.top()
    parts = [
        f"Usage:  {PROGRAM} [OPTIONS] COMMAND\n",
        "A container image engine you can look into: Docker's words, no daemon\n",
    ]
    for title, names in program.sections:
        parts.append(f"{title}:\n" + _names((name, top[name]) for name in names))
    parts.append("Global Options:\n" + flag_lines(program.flags))
    width = max(len(example) for example, _ in _EXAMPLES) + 2
    shown = (f"  {PROGRAM} {example.ljust(width)} # {comment}\n" for example, comment in _EXAMPLES)
    parts.append("Try:\n" + "".join(shown))
    parts.append(f"Run '{PROGRAM} COMMAND --help' for more information on a command.\n")
    return "\n".join(parts)


def group_help(program: Program, group: Group) -> str:
    """The page of a management command."""
    members = ((name, command.short) for name, command in program.members(group))
    return "\n".join(
        (
            f"Usage:  {PROGRAM} {group.name} COMMAND\n",
            f"{group.short}\n",
            "Commands:\n" + _names(members),
            f"Run '{PROGRAM} {group.name} COMMAND --help' for more information on a command.\n",
        )
    )


def command_help(command: Command, path: str) -> str:
    """The page of a command, called by ``path``."""
    parts = [usage_line(command, path), f"{command.long}\n"]
    if len(command.paths) > 1:
        paths = ", ".join(f"{PROGRAM} {name}" for name in command.paths)
        parts.append(f"Aliases:\n  {paths}\n")
    flags = _shown(command)
    if flags:
        parts.append("Options:\n" + flag_lines(flags))
    return "\n".join(parts)


def _shown(command: Command) -> list[Flag]:
    """The flags that help names; where -h means something else, also --help, as Docker does."""
    shown = [flag for flag in command.flags if not flag.hidden]
    if any(flag.short == "h" for flag in shown):
        shown.append(Flag("help", "bool", "Print usage"))
    return shown


def usage_line(command: Command, path: str) -> str:
    """``Usage:  onggi images [OPTIONS] …``; a synonym is shown as the name it stands for."""
    shown = path if path in command.names else command.names[0]
    return f"Usage:  {command.usage_line(shown)}\n"


def _names(rows: object) -> str:
    assert hasattr(rows, "__iter__")
    return "".join(f"  {name.ljust(_NAME_WIDTH)} {short}\n" for name, short in rows)


# --- flags, after pflag's FlagUsagesWrapped -----------------------------------------------------


def flag_lines(flags: Sequence[Flag], width: int | None = None) -> str:
    """One entry a flag, sorted by name, wrapped to ``width`` columns."""
    columns = (width or _terminal_width()) - _MARGIN
    entries = [(_flag_head(flag), _flag_text(flag)) for flag in sorted(flags, key=lambda flag: flag.name)]
    indent = max(len(head) for head, _ in entries) + 3
    return "".join(f"{head.ljust(indent)}{_wrapped(text, indent, columns)}\n" for head, text in entries)


def _flag_head(flag: Flag) -> str:
    head = f"  -{flag.short}, --{flag.name}" if flag.short else f"      --{flag.name}"
    return f"{head} {flag.value_name}" if flag.value_name else head


def _flag_text(flag: Flag) -> str:
    shown = flag.shown_default
    if not shown and flag.default:
        shown = str(flag.default).lower() if flag.kind in ("bool", "int") else f'"{flag.default}"'
    return f"{flag.help} (default {shown})" if shown else flag.help


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stdin.fileno()).columns or _DEFAULT_WIDTH
    except (OSError, ValueError, AttributeError):
        return _DEFAULT_WIDTH


def _wrapped(text: str, indent: int, columns: int) -> str:
    begin = ""
    room = columns - indent
    if room < _LEAST_TEXT:
        indent = _FALLBACK_INDENT
        room = columns - indent
        begin = "\n" + " " * indent
    newline = "\n" + " " * indent
    if room < _LEAST_TEXT:
        return text.replace("\n", newline)
    lines = []
    while text:
        line, text = _first_line(text, room - _SLOP)
        lines.append(line.replace("\n", newline))
    return begin + newline.join(lines)


def _first_line(text: str, width: int) -> tuple[str, str]:
    if width + _SLOP > len(text):
        return text, ""
    head = text[:width]
    blank = max(head.rfind(mark) for mark in " \t\n")
    if blank <= 0:
        return text, ""
    newline = head.rfind("\n")
    cut = newline if 0 < newline < blank else blank
    return text[:cut], text[cut + 1 :]


# --- Markdown -----------------------------------------------------------------------------------


def markdown(program: Program) -> str:
    """The reference of every command: ``docs/cli.md``."""
    parts = [
        "# onggi: command reference\n",
        "<!-- Made by `onggi help --markdown`; change the command table instead. -->\n",
        "Global options go before the command; the long ones may also follow it.\n",
        _markdown_flags(program.flags),
    ]
    commands = sorted(program.shown, key=lambda command: command.names[-1])
    parts.extend(_markdown_command(command) for command in commands)
    return "\n".join(parts)


def _markdown_command(command: Command) -> str:
    path = command.names[-1]
    parts = [f"## {PROGRAM} {path}\n", *_markdown_text(command.long)]
    parts.append(f"```\n{command.usage_line(path)}\n```\n")
    others = [f"`{PROGRAM} {name}`" for name in command.paths if name != path]
    if others:
        parts.append(f"Also: {', '.join(others)}\n")
    flags = _shown(command)
    if flags:
        parts.append(_markdown_flags(flags))
    return "\n".join(parts)


def _markdown_text(text: str) -> list[str]:
    """Paragraphs, each with a full stop; one that is indented stays as it stands."""
    return [
        f"```\n{paragraph}\n```\n" if paragraph.startswith(" ") else f"{paragraph.rstrip('.')}.\n"
        for paragraph in text.split("\n\n")
    ]


def _markdown_flags(flags: Sequence[Flag]) -> str:
    lines = ["| option | value | meaning |", "| --- | --- | --- |"]
    for flag in sorted(flags, key=lambda flag: flag.name):
        name = f"`-{flag.short}`, `--{flag.name}`" if flag.short else f"`--{flag.name}`"
        text = _flag_text(flag).replace("\n", "<br>").replace("|", "\\|")
        lines.append(f"| {name} | {flag.value_name} | {text} |")
    return "\n".join(lines) + "\n"

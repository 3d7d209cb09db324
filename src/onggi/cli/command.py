"""What a row of the command table is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from onggi.cli.flags import Flag

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["PROGRAM", "Arity", "Command", "Group", "Program", "named"]

PROGRAM = "onggi"


class Arity:
    """How many arguments a command takes; ``most`` None means any number."""

    __slots__ = ("least", "most")

    def __init__(self, least: int, most: int | None) -> None:
        self.least = least
        self.most = most

    def complaint(self, count: int) -> str:
        """Docker's words for a wrong ``count``; empty when it is right."""
        least, most = self.least, self.most
        if least <= count and (most is None or count <= most):
            return ""
        if most == 0:
            return "accepts no arguments"
        if most == least:
            return f"requires {_arguments(least)}"
        if most is None:
            return f"requires at least {_arguments(least)}"
        if least:
            return f"requires at least {least} and at most {_arguments(most)}"
        return f"requires at most {_arguments(most)}"


def _arguments(count: int) -> str:
    return f"{count} argument" if count == 1 else f"{count} arguments"


def named(text: str) -> Callable[..., Any]:
    """The function ``module:name`` of this package, loaded now; importlib would cost half a millisecond."""
    module, _, function = text.partition(":")
    package = __import__(f"onggi.cli.{module}", fromlist=[function])
    return getattr(package, function)  # type: ignore[no-any-return]


class Command:
    """One command and the names it goes by.

    ``names`` are its full paths, the first in the management group (``image ls``), others
    Docker's short forms (``images``); ``synonyms`` are further last words (``list``). ``run``
    is ``module:function`` in :mod:`onggi.cli`, imported when the command is used.
    ``arity_with`` is how many arguments it takes with a flag instead. ``completes`` is the kind of
    thing its arguments name: image, repository, container, network, volume, object (any of them),
    server, shell, command, file; empty for none. A ``hidden`` command is called by other programs
    only: no help, list or completion names it. ``flags`` may name a function that makes them
    (``module:function``), for a command that has many. Unless ``interspersed`` the first
    argument ends the flags: what follows belongs to another program.
    """

    __slots__ = (
        "_flags",
        "arity",
        "arity_with",
        "completes",
        "hidden",
        "interspersed",
        "long",
        "names",
        "run",
        "short",
        "synonyms",
        "usage",
    )

    def __init__(
        self,
        *names: str,
        usage: str,
        short: str,
        run: str,
        arity: Arity,
        flags: Sequence[Flag] | str = (),
        long: str = "",
        synonyms: Sequence[str] = (),
        arity_with: Mapping[str, Arity] | None = None,
        completes: str = "",
        hidden: bool = False,
        interspersed: bool = True,
    ) -> None:
        self.names = names
        self.usage = usage
        self.short = short
        self.run = run
        self.arity = arity
        self.arity_with = arity_with or {}
        self._flags = flags
        self.interspersed = interspersed
        self.long = long or short
        self.synonyms = synonyms
        self.completes = completes
        self.hidden = hidden

    @property
    def flags(self) -> Sequence[Flag]:
        """Its flags, made when somebody asks."""
        if isinstance(self._flags, str):
            self._flags = tuple(named(self._flags)())
        return self._flags

    @property
    def paths(self) -> tuple[str, ...]:
        """Every full path: the names, and the first name with each synonym."""
        group = self.names[0].rpartition(" ")[0]
        spelled = tuple(f"{group} {word}".strip() for word in self.synonyms)
        return (self.names[0], *spelled, *self.names[1:])

    def usage_line(self, path: str) -> str:
        """``onggi image ls [OPTIONS] [REPOSITORY[:TAG]]``."""
        return f"{PROGRAM} {path} {self.usage}".rstrip()


class Group:
    """A management command: a word before others (``image``)."""

    __slots__ = ("name", "short")

    def __init__(self, name: str, short: str) -> None:
        self.name = name
        self.short = short


class Program:
    """The whole table. ``sections`` order the top level of help: title, names shown under it."""

    __slots__ = ("commands", "flags", "groups", "sections")

    def __init__(
        self,
        flags: Sequence[Flag],
        groups: Sequence[Group],
        commands: Sequence[Command],
        sections: Sequence[tuple[str, Sequence[str]]],
    ) -> None:
        self.flags = flags
        self.groups = groups
        self.commands = commands
        self.sections = sections

    @property
    def shown(self) -> list[Command]:
        """The commands that help names."""
        return [command for command in self.commands if not command.hidden]

    def find(self, path: str) -> Command | None:
        """The command of a full path."""
        return next((command for command in self.commands if path in command.paths), None)

    def group(self, name: str) -> Group | None:
        """The group of a first word."""
        return next((group for group in self.groups if group.name == name), None)

    def members(self, group: Group) -> list[tuple[str, Command]]:
        """Last word and command of a group, sorted."""
        prefix = group.name + " "
        return sorted(
            (name.removeprefix(prefix), command)
            for command in self.commands
            for name in command.names
            if name.startswith(prefix)
        )

    def top(self) -> dict[str, str]:
        """First words and what they do: groups, and commands with a name of one word."""
        words = {group.name: group.short for group in self.groups}
        for command in self.commands:
            if command.hidden:
                continue
            words.update({name: command.short for name in command.names if " " not in name})
        return words

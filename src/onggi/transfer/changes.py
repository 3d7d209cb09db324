"""``--change`` of import and commit: Dockerfile instructions that change nothing but the config.

    changes     = { line "\\n" }                a line that ends in a backslash goes on in the next
    line        = "#" comment | instruction { flag } arguments
    instruction = CMD | ENTRYPOINT | ENV | EXPOSE | HEALTHCHECK | LABEL | ONBUILD | STOPSIGNAL
                | USER | VOLUME | WORKDIR       in any case; STOPSIGNAL not with Docker 20.10

Every instruction sees the variables that the ENV lines before it have set. Source: moby
``builder/dockerfile``; every rule and text here checked against dockerd 20.10.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Mapping, Sequence

from onggi.oci.port_specs import parse_port_spec
from onggi.oci.quoting import quoted
from onggi.oci.timestamps import parse_duration_ns
from onggi.transfer.change_words import InvalidChange, cut_words, expand, expand_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["apply_changes"]

_SHELL = ("/bin/sh", "-c")
_MILLISECOND_NS = 10**6
_DURATIONS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def apply_changes(
    changes: Sequence[str], compat: str, config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the changes make of a config, an empty one unless given. Raises InvalidChange."""
    if not changes:
        return dict(config or {})
    lines = _lines("\n".join(changes))
    if not lines:
        raise InvalidChange("file with no instructions")
    parsed = [_parse(line, compat) for line in lines]
    changed = _Config(compat, config or {})
    for name, rest in parsed:
        flags, rest = _flags(rest)
        if flags and name != "HEALTHCHECK":
            raise InvalidChange(f"Unknown flag: {next(iter(flags))}")
        if name == "HEALTHCHECK":
            changed.health_check(flags, rest)
        else:
            _INSTRUCTIONS[name](changed, rest)
    return changed.fields


def _lines(text: str) -> list[str]:
    """Lines without comments, those that go on joined."""
    lines: list[str] = []
    open_line = ""
    for line in text.split("\n"):
        if line.lstrip().startswith("#") or not (line.strip() or open_line):
            continue
        cut = re.sub(r"\\[ \t]*$", "", line)
        open_line += cut if open_line else cut.lstrip()
        if cut == line:
            lines.append(open_line)
            open_line = ""
    if open_line:
        lines.append(open_line)
    return lines


def _parse(line: str, compat: str) -> tuple[str, str]:
    word, _, rest = re.sub(r"[\t\v\f\r ]+", " ", line.strip(), count=1).partition(" ")
    name = word.upper()
    if name not in _INSTRUCTIONS or (name == "STOPSIGNAL" and compat == "20.10"):
        raise InvalidChange(f"{word.lower()} is not a valid change command")
    return name, rest.strip()


def _flags(rest: str) -> tuple[dict[str, str], str]:
    """Leading words ``--name=value``, and what follows them."""
    flags: dict[str, str] = {}
    while rest.startswith("--"):
        word = re.split(r"\s", rest, maxsplit=1)[0]
        rest = rest[len(word) :].lstrip()
        if word == "--":
            break
        name, equals, value = word[2:].partition("=")
        if name in flags:
            raise InvalidChange(f"Duplicate flag specified: {name}")
        if not equals:
            raise InvalidChange(f"Missing a value on flag: {name}")
        flags[name] = value
    return flags, rest


def _json_words(rest: str) -> list[str] | None:
    """The strings of a JSON list; None when it is none."""
    if not rest.startswith("["):
        return None
    try:
        words = json.loads(rest)
    except ValueError:
        return None
    if not all(isinstance(word, str) for word in words):
        raise InvalidChange("when using JSON array syntax, arrays must be comprised of strings only")
    return list(words)


class _Config:
    """A config that instructions change; one method an instruction."""

    def __init__(self, compat: str, fields: Mapping[str, Any]) -> None:
        self.fields: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}
        self._compat = compat
        self._has_command = False

    def _command(self, rest: str) -> list[str]:
        """An exec form's list, or a shell and the line as it stands."""
        words = _json_words(rest)
        return words if words is not None else [*self._shell, *filter(None, [rest])]

    @property
    def _shell(self) -> list[str]:
        return list(self.fields.get("Shell") or _SHELL)

    @property
    def _variables(self) -> dict[str, str]:
        pairs = (entry.partition("=") for entry in self.fields.get("Env", ()))
        return {name: value for name, _, value in pairs}

    def cmd(self, rest: str) -> None:
        self.fields["Cmd"] = self._command(rest)
        self._has_command = True

    def entrypoint(self, rest: str) -> None:
        """What was to be run belongs to another entrypoint, unless these changes say it."""
        command = self._command(rest)
        self.fields["Entrypoint"] = command if command not in ([], self._shell) else None
        if not self._has_command:
            self.fields.pop("Cmd", None)

    def env(self, rest: str) -> None:
        environment = list(self.fields.get("Env", ()))
        for name, value in self._pairs("ENV", rest):
            places = [at for at, entry in enumerate(environment) if entry.partition("=")[0] == name]
            entry = f"{name}={value}"
            if places:
                environment[places[0]] = entry
            else:
                environment.append(entry)
        self.fields["Env"] = environment

    def label(self, rest: str) -> None:
        self.fields["Labels"] = {**self.fields.get("Labels", {}), **dict(self._pairs("LABEL", rest))}

    def _pairs(self, instruction: str, rest: str) -> list[tuple[str, str]]:
        """``name=value …``, or the old ``name value``; all of it sees the variables of before."""
        words = cut_words(rest)
        if not words:
            raise InvalidChange(f"{instruction} requires at least one argument")
        if "=" in words[0]:
            for word in words:
                if "=" not in word:
                    raise InvalidChange(
                        f"Syntax error - can't find = in {quoted(word)}. Must be of the form: name=value"
                    )
            pairs = [(word.partition("=")[0], word.partition("=")[2]) for word in words]
        else:
            parts = re.split(r"[\t\v\f\r ]+", rest, maxsplit=1)
            if len(parts) < 2:
                raise InvalidChange(f"{instruction} must have two arguments")
            pairs = [(parts[0], parts[1])]
        variables = self._variables
        expanded = [(expand(name, variables), expand(value, variables)) for name, value in pairs]
        if any(not name for name, _ in expanded):
            raise InvalidChange(f"{instruction} names can not be blank")
        return expanded

    def expose(self, rest: str) -> None:
        words = rest.split()
        if not words:
            raise InvalidChange("EXPOSE requires at least one argument")
        ports = dict(self.fields.get("ExposedPorts", {}))
        for word in words:
            for port in expand_words(word, self._variables):
                ports |= {name: {} for name in parse_port_spec(port)}
        self.fields["ExposedPorts"] = ports

    def volume(self, rest: str) -> None:
        words = _json_words(rest)
        words = rest.split() if words is None else words
        if not words:
            raise InvalidChange("VOLUME requires at least one argument")
        places = [expand(word, self._variables).strip() for word in words]
        if not all(places):
            raise InvalidChange("VOLUME specified can not be an empty string")
        self.fields["Volumes"] = {**self.fields.get("Volumes", {}), **{place: {} for place in places}}

    def workdir(self, rest: str) -> None:
        place = self._one("WORKDIR", rest)
        if not place:
            raise InvalidChange("cannot normalize nothing")
        if not place.startswith("/"):
            from posixpath import join, normpath

            place = normpath(join("/", self.fields.get("WorkingDir", ""), place))
        self.fields["WorkingDir"] = place

    def user(self, rest: str) -> None:
        self.fields["User"] = self._one("USER", rest)

    def stop_signal(self, rest: str) -> None:
        name = self._one("STOPSIGNAL", rest)
        if not _is_signal(name):
            raise InvalidChange(f"invalid signal: {name}")
        self.fields["StopSignal"] = name

    def _one(self, instruction: str, rest: str) -> str:
        if not rest:
            raise InvalidChange(f"{instruction} requires exactly one argument")
        return expand(rest, self._variables)

    def on_build(self, rest: str) -> None:
        if not rest:
            raise InvalidChange("ONBUILD requires at least one argument")
        trigger = rest.split()[0].upper()
        if trigger == "ONBUILD":
            raise InvalidChange("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
        if trigger in ("MAINTAINER", "FROM"):
            raise InvalidChange(f"{trigger} isn't allowed as an ONBUILD trigger")
        self.fields["OnBuild"] = [*self.fields.get("OnBuild", ()), rest]

    def health_check(self, flags: dict[str, str], rest: str) -> None:
        if not rest:
            raise InvalidChange("HEALTHCHECK requires at least one argument")
        kind, _, command = re.sub(r"\s+", " ", rest, count=1).partition(" ")
        if kind.upper() == "NONE":
            if command:
                raise InvalidChange("HEALTHCHECK NONE takes no arguments")
            check: dict[str, Any] = {"Test": ["NONE"]}
        elif kind.upper() == "CMD":
            check = {"Test": _health_command(command), **self._health_options(flags)}
        else:
            raise InvalidChange(f"Unknown type {quoted(kind.upper())} in HEALTHCHECK (try CMD)")
        self.fields["Healthcheck"] = check

    def _health_options(self, flags: dict[str, str]) -> dict[str, int]:
        options = {}
        for name, text in flags.items():
            if name == "retries":
                options["Retries"] = _retries(text)
            elif name in _DURATIONS and (name != "start-interval" or self._compat != "20.10"):
                options[_DURATIONS[name]] = _duration_ns(name, text)
            else:
                raise InvalidChange(f"Unknown flag: {name}")
        return options


def _health_command(rest: str) -> list[str]:
    words = _json_words(rest)
    command = [rest] if words is None and rest else words
    if not command:
        raise InvalidChange("Missing command after HEALTHCHECK CMD")
    return ["CMD-SHELL" if words is None else "CMD", *command]


def _retries(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise InvalidChange(f"strconv.ParseInt: parsing {quoted(text)}: invalid syntax")
    if int(text) < 1:
        raise InvalidChange(f"--retries must be at least 1 (not {int(text)})")
    return int(text)


def _duration_ns(name: str, text: str) -> int:
    value = parse_duration_ns(text)
    if value is None:
        cause = "missing unit in" if re.fullmatch(r"[+-]?[0-9.]+", text) else "invalid"
        raise InvalidChange(f"time: {cause} duration {quoted(text)}")
    if value and value < _MILLISECOND_NS:
        raise InvalidChange(f"Interval {quoted(name)} cannot be less than 1ms")
    return value


def _is_signal(name: str) -> bool:
    if name.isdigit():
        return 0 < int(name) < signal.NSIG
    return f"SIG{name.upper().removeprefix('SIG')}" in signal.Signals.__members__ or bool(
        re.fullmatch(r"(SIG)?RTM(IN(\+[0-9]+)?|AX(-[0-9]+)?)", name.upper())
    )


_INSTRUCTIONS: dict[str, Callable[[_Config, str], None]] = {
    "CMD": _Config.cmd,
    "ENTRYPOINT": _Config.entrypoint,
    "ENV": _Config.env,
    "EXPOSE": _Config.expose,
    "HEALTHCHECK": lambda config, rest: config.health_check({}, rest),
    "LABEL": _Config.label,
    "ONBUILD": _Config.on_build,
    "STOPSIGNAL": _Config.stop_signal,
    "USER": _Config.user,
    "VOLUME": _Config.volume,
    "WORKDIR": _Config.workdir,
}

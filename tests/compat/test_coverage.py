"""Every flag of the container, network and volume commands stands in a row that is compared with dockerd.

``run`` and ``create`` take the same flags, from one table, and ``run`` creates and starts: a row of
either counts for both.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

from onggi.cli.command import Command
from onggi.cli.flags import Flag
from onggi.cli.table import program
from tests.compat import (
    test_container_files,
    test_containers,
    test_health,
    test_logs,
    test_networks,
    test_volumes,
)
from tests.compat.cannot import CANNOT
from tests.compat.effect_rows import EFFECTS
from tests.compat.life_rows import CONVERSATIONS, RARE_CONVERSATIONS
from tests.compat.refusal_rows import RARE, REFUSED

_OWN = "Onggi's own: docker has no such flag"
_MAKING = ("container run", "container create")
# No row, since dockerd 20.10 knows nothing of it: command ("*" any), flag, reason.
LACKING = {
    ("*", "json"): _OWN,
    ("container diff", "format"): _OWN,
    ("container run", "layer"): f"{_OWN}; test_from_layer.py compares with docker's result of that layer",
    ("container run", "annotation"): "Docker 24's (API 1.43); its effect: test_container_life.py",
    (
        "container run",
        "health-start-interval",
    ): "Docker 25's (API 1.44); its effect: tests/runtime/test_health.py",
    ("container run", "mac-address"): "Docker 25's (API 1.44), as docker sends it; test_networks.py",
    ("volume prune", "all"): "Docker 23's (API 1.42); its effect: tests/engine/containers/test_volumes.py",
    ("container stop", "signal"): "Docker 23's (API 1.42); its effect: test_container_life.py",
    ("container restart", "signal"): "Docker 23's (API 1.42); its effect: test_container_life.py",
    **{
        (
            f"container {verb}",
            "time",
        ): "the old name of --timeout, which Docker 28 speaks of; tests/cli/test_main.py"
        for verb in ("stop", "restart")
    },
    ("container exec", "privileged"): "this kernel refuses it to dockerd, as run --privileged (cannot.py)",
}
TABLE = program()


def _lines() -> Iterator[list[str]]:
    """Every row that the suites give to both, as words."""
    yield from (["run", *shlex.split(row.flags)] for row in (*EFFECTS, *CANNOT))
    for text in (REFUSED, RARE, *CONVERSATIONS.values(), *RARE_CONVERSATIONS.values()):
        for line in text.strip().splitlines():
            yield shlex.split(re.sub(r"^[~?]? ?(?:< \w+ \| )?", "", line))
    yield from map(shlex.split, test_networks.COMMANDS)
    yield from (["volume", *words] for words in test_volumes.COMMANDS)
    yield from (["create", *words] for words in _made())
    yield from (["update", *shlex.split(words)] for words in test_container_files.UPDATES)
    yield ["commit", *test_container_files.CHANGES]


def _made() -> Iterator[Iterable[str]]:
    yield from test_volumes.CREATED.values()
    yield from (options for options, _, _ in test_volumes.RUN.values())
    yield from test_containers.CASES.values()
    yield from test_health.CONFIGURATIONS
    yield from (*test_logs.REFUSED, *test_logs.FAILING)


def _command(words: Sequence[str]) -> tuple[Command | None, Sequence[str]]:
    for count in (2, 1):
        command = TABLE.find(" ".join(words[:count]))
        if command is not None:
            return command, words[count:]
    return None, ()


def _named(flag: Flag, words: Iterable[str]) -> bool:
    """True when ``words`` give it, by its long or its short name."""
    return any(
        word.split("=")[0] == f"--{flag.name}"
        or (flag.short and re.match(rf"-[a-zA-Z]*{flag.short}", word) is not None)
        for word in words
    )


def test_every_flag_is_in_a_row() -> None:
    rows: dict[str, list[str]] = {}
    for line in _lines():
        command, words = _command(line)
        if command is not None:
            rows.setdefault(command.names[0], []).extend(words)
    made = [word for name in _MAKING for word in rows[name]]
    missing = {
        (_MAKING[0] if command.names[0] in _MAKING else command.names[0], flag.name)
        for command in TABLE.shown
        if command.names[0].split()[0] in ("container", "network", "volume")
        for flag in command.flags
        if not _named(flag, made if command.names[0] in _MAKING else rows.get(command.names[0], ()))
    }
    anywhere = {name for command, name in LACKING if command == "*"}
    assert {each for each in missing if each[1] not in anywhere} == {
        each for each in LACKING if each[0] != "*"
    }

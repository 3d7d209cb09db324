"""Help and usage errors say what Docker's command line says, for every command that both have."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from onggi.cli.command import Command
from onggi.cli.flags import Flag, FlagError, parse_flags
from onggi.cli.help import command_help
from onggi.cli.main import run
from onggi.cli.table import program
from onggi.record import record
from tests.compat.words import CHANGED, EXPLAINED, NEW_COMPLAINTS, OTHERWISE, SLIPS

# Of the same name, and not the same thing.
_OTHERS = ("completion", "help")
_ENTRY = re.compile(r"  (?:-(\w), |    )--([\w-]+)(?: (\S+))?(?:   *(.*))?")
_NO_DAEMON = "unix:///nonexistent/docker.sock"


@record
class Page:
    """A page of help: ``flags`` are short form, type and text by name."""

    usage: str
    description: str
    flags: Mapping[str, tuple[str, str, str]]


def read(text: str) -> Page:
    """The page; of the usage its first line without the program's name, words one blank apart."""
    usage, description = text.strip().split("\n\n")[:2]
    flags: dict[str, tuple[str, str, str]] = {}
    name = ""
    for line in text.partition("Options:\n")[2].partition("\n\n")[0].splitlines():
        entry = _ENTRY.fullmatch(line)
        if entry is not None:
            name = entry[2]
            flags[name] = entry[1] or "", entry[3] or "", entry[4] or ""
        else:
            short, kind, said = flags[name]
            flags[name] = short, kind, f"{said} {line}"
    return Page(
        usage.splitlines()[0].partition(" ")[2].strip().partition(" ")[2],
        " ".join(description.split()),
        {name: (short, kind, " ".join(said.split())) for name, (short, kind, said) in flags.items()},
    )


@cache
def version(docker: str) -> str:
    """``20.10``, ``28``; empty where it is another, whose words nobody has looked at."""
    said = subprocess.run([docker, "--version"], capture_output=True, text=True, check=True).stdout
    return next((known for known in ("20.10", "28") if f"version {known}." in said), "")


def clients() -> list[str]:
    """Docker's command lines on the path: Debian's, which scripts/setup installs, and maybe a newer one."""
    places = [Path(place, "docker") for place in os.environ["PATH"].split(":")]
    found = {version(str(place)): str(place) for place in places if os.access(place, os.X_OK)}
    return [place for known, place in sorted(found.items()) if known]


def docker(client: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [client, *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "DOCKER_HOST": _NO_DAEMON},
    )


@cache
def pages(client: str) -> Mapping[str, Page]:
    """The help of every command that both have, by its path."""
    paths = [command.names[0] for command in program().shown if command.names[0] not in _OTHERS]
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda path: docker(client, *path.split(), "--help").stdout, paths)
        found = {path: text for path, text in zip(paths, answers, strict=True) if f" {path} " in text[:200]}
    return {
        path: read(text) for path, text in found.items() if re.match(rf"\s*Usage:\s+docker {path}\b", text)
    }


def command_of(path: str) -> Command:
    command = program().find(path)
    assert command is not None
    return command


def in_words_of_today(path: str, text: str, used: set[str]) -> str:
    """A text of 20.10 as 28 has it; ``used`` notes which row said so."""
    for old, new in CHANGED:
        found = re.fullmatch(old, f"{path}: {text}")
        if found is not None:
            used.add(old)
            return found.expand(new)
    return text


def renewed(path: str, page: Page, used: set[str]) -> Page:
    flags = {name: (*of[:2], in_words_of_today(path, of[2], used)) for name, of in page.flags.items()}
    return Page(page.usage, in_words_of_today(path, page.description, used), flags)


def differences(path: str, theirs: Page, ours: Page) -> Iterator[tuple[tuple[str, str], str]]:
    """Where the pages differ, and how. A description may go on after Docker's."""
    if ours.usage != theirs.usage:
        yield (path, "usage"), f"{theirs.usage} | {ours.usage}"
    if not re.match(rf"{re.escape(theirs.description)}(\W|$)", ours.description):
        yield (path, "description"), f"{theirs.description} | {ours.description}"
    for name, told in theirs.flags.items():
        if ours.flags.get(name) != told:
            yield (path, name), f"{told} | {ours.flags.get(name)}"


def test_debian_has_a_docker_whose_words_are_known() -> None:
    assert clients()


@pytest.mark.parametrize("client", clients(), ids=version)
def test_help(client: str) -> None:
    used: set[str] = set()
    found: dict[tuple[str, str], str] = {}
    for path, page in pages(client).items():
        theirs = renewed(path, page, used) if version(client) == "20.10" else page
        found |= differences(path, theirs, read(command_help(command_of(path), path)))
    explained = {**EXPLAINED[""], **EXPLAINED[version(client)]}
    assert {row: how for row, how in found.items() if row not in explained} == {}
    assert [row for row in explained if row not in found] == [], "rows that make no difference"
    if version(client) == "20.10":
        assert [old for old, _ in CHANGED if old not in used] == [], "words that have not changed"


# --- what is wrong with the words ---------------------------------------------------------------


def wrong_words(command: Command, path: str) -> Iterator[list[str]]:
    """Too few arguments, too many, and flags that there are not."""
    words = path.split()
    if command.arity.least:
        yield words
    if command.arity.most is not None:
        yield [*words, *["x"] * (command.arity.most + 1)]
    yield [*words, "--no-such-flag"]
    yield [*words, "-Z"]
    yield [*words, "--=x"]


def unknown_words() -> Iterator[list[str]]:
    yield ["no-such-command"]
    yield ["help", "no-such-command"]
    yield ["--no-such-flag"]
    for group in ("container", "image", "network", "system", "volume"):
        yield [group, "no-such-command"]
        yield [group, "lss"]
        yield [group, "--no-such-flag"]


def as_today(text: str) -> str:
    """The first line of a complaint of 20.10, as 28 has it."""
    line = text.partition("\n")[0].removesuffix(".").replace("requires exactly", "requires")
    return re.sub(r'^"(docker [^"]*)"', r"docker: '\1'", line)


def without_slips(text: str) -> str:
    for slip, meant in SLIPS:
        text = re.sub(slip, meant, text)
    return text


@pytest.mark.parametrize("client", clients(), ids=version)
def test_usage_errors(client: str, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [words for path in pages(client) for words in wrong_words(command_of(path), path)]
    if version(client) == "28":  # of a group's unknown commands 20.10 shows the help of the group
        rows.extend(unknown_words())
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda words: docker(client, *words), rows))
    # The usage line is looked at only where all of it is compared.
    otherwise = [row for row in OTHERWISE if version(client) == "28" or row != "container diff"]
    differing = {}
    for words, theirs in zip(rows, answers, strict=True):
        status = run(words)
        said = capfd.readouterr().err.replace("onggi", "docker")
        text = theirs.stderr
        if version(client) == "20.10":
            said, text = said.partition("\n")[0], as_today(text)
        # A guess at what was meant is Onggi's own.
        said, text = re.sub(r"Did you mean .*\n\n", "", said), without_slips(text)
        if (status, said) != (theirs.returncode, text):
            differing[" ".join(words)] = (theirs.returncode, text, status, said)
    assert {line: of for line, of in differing.items() if not line.startswith(tuple(OTHERWISE))} == {}
    assert all(any(line.startswith(row) for line in differing) for row in otherwise)


def valued(path: str, page: Page) -> Iterator[tuple[str, Flag]]:
    """The flags whose values are not just any text; those of ``create`` are those of ``run``."""
    for flag in command_of(path).flags:
        if path != "container create" and page.flags.get(flag.name, ("", "string", ""))[1] != "string":
            yield path, flag


@pytest.mark.parametrize("client", clients(), ids=version)
def test_bad_values(client: str) -> None:
    """A value that is none is refused in the same words, and one that is let pass by both."""
    rows = [row for path, page in pages(client).items() for row in valued(path, page)]
    with ThreadPoolExecutor(2) as pool:
        asked = pool.map(lambda row: docker(client, *row[0].split(), f"--{row[1].name}=x").stderr, rows)
        answers = [text.partition("\n")[0] for text in asked]
    differing = {}
    for (path, flag), text in zip(rows, answers, strict=True):
        theirs = text if text.startswith("invalid argument") else ""
        if complaint(path, flag) != theirs:
            differing[path, flag.name] = text, complaint(path, flag)
    assert set(differing) == (NEW_COMPLAINTS if version(client) == "20.10" else set()), differing


def complaint(path: str, flag: Flag) -> str:
    try:
        parse_flags(command_of(path).flags, [f"--{flag.name}=x"])
    except FlagError as error:
        return str(error)
    return ""

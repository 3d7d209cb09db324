"""Layout and wrapping are those of Docker's command line 28.2."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from onggi.cli.command import Arity
from onggi.cli.flags import Flag
from onggi.cli.help import command_help, flag_lines, group_help, markdown, program_help
from onggi.cli.table import program

TABLE = program()


def test_wrapping_is_pflags() -> None:
    flags = [
        Flag("all", "bool", "Show all images (default hides intermediate images)", short="a"),
        Flag(
            "format",
            "string",
            "Format output using a custom template:\n"
            "'table':            Print output in table format with column headers (default)\n"
            "'TEMPLATE':         Print output using the given Go template.",
        ),
        Flag("human", "bool", "Print sizes and dates in human readable format", short="H", default=True),
    ]
    assert flag_lines(flags, 80) == (
        "  -a, --all             Show all images (default hides intermediate images)\n"
        "      --format string   Format output using a custom template:\n"
        "                        'table':            Print output in table format\n"
        "                        with column headers (default)\n"
        "                        'TEMPLATE':         Print output using the given\n"
        "                        Go template.\n"
        "  -H, --human           Print sizes and dates in human readable format\n"
        "                        (default true)\n"
    )


@pytest.mark.parametrize("width", [20, 40, 60, 200])
def test_no_word_is_lost_at_any_width(width: int) -> None:
    for command in TABLE.commands:
        if command.flags:
            words = flag_lines(command.flags, width).split()
            assert words == flag_lines(command.flags, 10_000).split()


def test_command_page() -> None:
    command = TABLE.find("logout")
    assert command is not None
    assert command_help(command, "logout") == (
        "Usage:  onggi logout [SERVER]\n\n"
        "Log out from a registry.\nIf no server is specified, the default is Docker Hub.\n"
    )
    command = TABLE.find("tag")
    assert command is not None
    assert "\nAliases:\n  onggi image tag, onggi tag\n" in command_help(command, "tag")
    listing = TABLE.find("image list")
    assert listing is not None
    page = command_help(listing, "image list")
    assert page.startswith("Usage:  onggi image ls [OPTIONS] [REPOSITORY[:TAG]]\n\nList images\n\nAliases:\n")
    assert "  onggi image ls, onggi image list, onggi images\n" in page


def test_group_page() -> None:
    group = TABLE.group("system")
    assert group is not None
    assert group_help(TABLE, group).startswith(
        "Usage:  onggi system COMMAND\n\nManage the data root\n\nCommands:\n"
        "  boot        Start the containers that restart with the host\n"
        "  df          Show disk usage\n  events      Get real time events"
    )


def test_first_page_shows_every_top_level_word_once() -> None:
    page = program_help(TABLE)
    for word in TABLE.top():
        assert page.count(f"\n  {word} ") == 1, word
    assert all(len(line) <= 80 for line in page.splitlines())


def test_every_command_can_be_imported_and_has_unambiguous_flags() -> None:
    for command in TABLE.commands:
        module, _, function = command.run.partition(":")
        assert callable(getattr(import_module(f"onggi.cli.{module}"), function))
        letters = [flag.short for flag in command.flags if flag.short]
        assert len(letters) == len(set(letters))
    paths = [path for command in TABLE.commands for path in command.paths]
    assert len(paths) == len(set(paths))


def test_markdown_names_every_command_and_flag() -> None:
    text = markdown(TABLE)
    for command in TABLE.shown:
        assert f"## onggi {command.names[-1]}\n" in text
        assert all(f"`--{flag.name}`" in text for flag in command.flags if not flag.hidden)


def test_the_reference_is_up_to_date() -> None:
    """`make docs` writes it; whoever changes the command table runs that."""
    document = Path(__file__).parents[2] / "docs" / "cli.md"
    assert document.read_text("utf-8") == markdown(TABLE), "run make docs"


@pytest.mark.parametrize(
    ("arity", "count", "complaint"),
    [
        (Arity(0, 0), 1, "accepts no arguments"),
        (Arity(1, 1), 0, "requires 1 argument"),
        (Arity(2, 2), 3, "requires 2 arguments"),
        (Arity(1, None), 0, "requires at least 1 argument"),
        (Arity(0, 1), 2, "requires at most 1 argument"),
        (Arity(1, 2), 3, "requires at least 1 and at most 2 arguments"),
        (Arity(1, None), 9, ""),
        (Arity(0, 1), 1, ""),
    ],
)
def test_arity(arity: Arity, count: int, complaint: str) -> None:
    assert arity.complaint(count) == complaint

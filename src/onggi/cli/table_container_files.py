"""The rows of the command table for what a container changed, and for its files."""

from __future__ import annotations

from onggi.cli.command import Arity, Command
from onggi.cli.flags import Flag
from onggi.cli.table_flags import ONE, json_flag, list_format

__all__ = ["container_file_commands"]


def container_file_commands() -> tuple[Command, ...]:
    """The rows."""
    return _commit(), _copy(), _diff(), _export()


def _commit() -> Command:
    return Command(
        "container commit",
        "commit",
        usage="[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
        short="Create a new image from a container's changes",
        run="container_files:run_commit",
        arity=Arity(1, 2),
        completes="container",
        flags=(
            Flag("author", "string", 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")', short="a"),
            Flag("change", "list", "Apply Dockerfile instruction to the created image", short="c"),
            Flag("message", "string", "Commit message", short="m"),
            Flag("pause", "bool", "Pause container during commit", short="p", default=True),
        ),
    )


def _copy() -> Command:
    return Command(
        "container cp",
        "cp",
        usage="[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tonggi cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
        short="Copy files/folders between a container and the local filesystem",
        long=(
            "Copy files/folders between a container and the local filesystem\n\n"
            "Use '-' as the source to read a tar archive from stdin\n"
            "and extract it to a directory destination in a container.\n"
            "Use '-' as the destination to stream a tar archive of a\n"
            "container source to stdout."
        ),
        run="cp:run",
        arity=Arity(2, 2),
        completes="container",
        flags=(
            Flag("archive", "bool", "Archive mode (copy all uid/gid information)", short="a"),
            Flag("follow-link", "bool", "Always follow symbol link in SRC_PATH", short="L"),
            Flag(
                "quiet",
                "bool",
                "Suppress progress output during copy. Progress output is automatically suppressed if no "
                "terminal is attached",
                short="q",
            ),
        ),
    )


def _diff() -> Command:
    return Command(
        "container diff",
        "diff",
        usage="[OPTIONS] CONTAINER",
        short="Inspect changes to files on a container's filesystem",
        long=(
            "Inspect changes to files or directories on a container's filesystem\n\n"
            "They are added (A), changed (C) or deleted (D). Read is what the container wrote, whatever its\n"
            "image holds."
        ),
        run="container_files:run_diff",
        arity=ONE,
        completes="container",
        flags=(list_format(), json_flag("Print exact values as one JSON array, an item a line")),
    )


def _export() -> Command:
    return Command(
        "container export",
        "export",
        usage="[OPTIONS] CONTAINER",
        short="Export a container's filesystem as a tar archive",
        run="container_files:run_export",
        arity=ONE,
        completes="container",
        flags=(Flag("output", "string", "Write to a file, instead of STDOUT", short="o", completes="file"),),
    )

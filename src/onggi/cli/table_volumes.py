"""The rows of the command table for volumes."""

from __future__ import annotations

from onggi.cli.command import Command
from onggi.cli.flags import Flag
from onggi.cli.table_flags import AT_MOST_ONE, NONE, SOME, filter_flag, json_flag, list_format, one_format

__all__ = ["volume_commands"]


def volume_commands() -> tuple[Command, ...]:
    """The rows."""
    return (
        Command(
            "volume create",
            usage="[OPTIONS] [VOLUME]",
            short="Create a volume",
            run="volumes:create",
            arity=AT_MOST_ONE,
            flags=(
                Flag("driver", "string", "Specify volume driver name", short="d", default="local"),
                Flag("label", "list", "Set metadata for a volume"),
                Flag("name", "string", "Specify volume name", hidden=True),
                Flag(
                    "opt",
                    "list",
                    "Set driver specific options",
                    short="o",
                    check="option",
                    metavar="map",
                    shown_default="map[]",
                ),
            ),
        ),
        Command(
            "volume inspect",
            usage="[OPTIONS] VOLUME [VOLUME...]",
            short="Display detailed information on one or more volumes",
            run="volumes:inspect",
            arity=SOME,
            completes="volume",
            flags=(one_format(), json_flag("Print the JSON array (default)")),
        ),
        Command(
            "volume ls",
            usage="[OPTIONS]",
            short="List volumes",
            run="volumes:ls",
            arity=NONE,
            synonyms=("list",),
            flags=(
                filter_flag('Provide filter values (e.g. "dangling=true")'),
                list_format(),
                json_flag(),
                Flag("quiet", "bool", "Only display volume names", short="q"),
            ),
        ),
        *_removing(),
    )


def _removing() -> tuple[Command, ...]:
    return (
        Command(
            "volume prune",
            usage="[OPTIONS]",
            short="Remove unused local volumes",
            run="volumes:prune",
            arity=NONE,
            flags=(
                Flag("all", "bool", "Remove all unused volumes, not just anonymous ones", short="a"),
                filter_flag('Provide filter values (e.g. "label=<label>")', short=""),
                Flag("force", "bool", "Do not prompt for confirmation", short="f"),
                json_flag("Print what was removed as JSON"),
            ),
        ),
        Command(
            "volume rm",
            usage="[OPTIONS] VOLUME [VOLUME...]",
            short="Remove one or more volumes",
            long="Remove one or more volumes. You cannot remove a volume that is in use by a container.",
            run="volumes:remove",
            arity=SOME,
            synonyms=("remove",),
            completes="volume",
            flags=(Flag("force", "bool", "Force the removal of one or more volumes", short="f"),),
        ),
    )

"""The rows of the command table that keep a data root in order: gc, prune, pins, names."""

from __future__ import annotations

from onggi.cli.command import Arity, Command
from onggi.cli.flags import Flag
from onggi.cli.table_flags import NONE, ONE, SOME, TWO, filter_flag, json_flag, list_format, no_trunc

__all__ = ["upkeep_commands"]


def upkeep_commands() -> tuple[Command, ...]:
    """The rows."""
    return (_gc(), _system_prune(), *_pins(), _tag(), _convert())


def _gc() -> Command:
    return Command(
        "gc",
        usage="[OPTIONS]",
        short="Remove what nothing refers to",
        long=(
            "Remove what nothing refers to: layers no image uses, directories no layer names, what\n"
            "killed processes and crashed Docker daemons left. Images are never removed, named or\n"
            "not: 'onggi image prune' and 'onggi system prune' do that. What a running command uses\n"
            "is left to it."
        ),
        run="gc:run",
        arity=NONE,
        flags=(
            Flag("dry-run", "bool", "Only tell what would go"),
            Flag("explain", "bool", "List everything, what stays too, each with the reason and its size"),
            list_format(),
            json_flag(),
            no_trunc(),
        ),
    )


def _system_prune() -> Command:
    return Command(
        "system prune",
        usage="[OPTIONS]",
        short="Remove unused data",
        run="prune:run",
        arity=NONE,
        flags=(
            Flag("all", "bool", "Remove all unused images not just dangling ones", short="a"),
            filter_flag('Provide filter values (e.g. "label=<key>=<value>")', short=""),
            Flag("force", "bool", "Do not prompt for confirmation", short="f"),
            json_flag("Print what was removed as JSON"),
            Flag(
                "keep-bytes",
                "size",
                "Remove least recently used images until the data root is this small (e.g. 10GB)",
            ),
            Flag(
                "until",
                "string",
                "Remove images that were not used for this long (e.g. 24h, 30d)",
                metavar="duration",
            ),
            Flag("volumes", "bool", "Prune anonymous volumes"),
        ),
    )


def _convert() -> Command:
    return Command(
        "storage convert",
        usage="--to DRIVER [OPTIONS]",
        short="Move all images to another storage driver",
        long=(
            "Move all images to another storage driver. Every layer is proved by its diffID; ids, names,\n"
            "pins and what blobs are known by stay. Until all is there the data root is the old\n"
            "driver's: stopped, the same command goes on. No container may exist, nothing be mounted."
        ),
        run="convert:run",
        arity=NONE,
        flags=(
            Flag("dry-run", "bool", "Only tell what would be done, and the bytes it takes"),
            json_flag(),
            Flag("keep", "bool", "Keep the old driver's data"),
            Flag("quiet", "bool", "Print nothing", short="q"),
            Flag("to", "string", "The storage driver to be", choices=("erofs", "overlay2"), metavar="DRIVER"),
        ),
    )


def _pins() -> tuple[Command, ...]:
    return (
        Command(
            "image pin",
            usage="[OPTIONS] [IMAGE...]",
            short="Keep images from every prune; without arguments list pinned images",
            long=(
                "Keep images from every prune, and from 'rmi' without --force. Without arguments the\n"
                "pinned images are listed."
            ),
            run="pin:run",
            arity=Arity(0, None),
            completes="image",
            flags=(list_format(), json_flag(), no_trunc()),
        ),
        Command(
            "image unpin",
            usage="IMAGE [IMAGE...]",
            short="Let pinned images be pruned again",
            run="pin:run_unpin",
            arity=SOME,
            completes="image",
        ),
    )


def _tag() -> Command:
    return Command(
        "image tag",
        "tag",
        usage="SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        short="Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        long=(
            "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE.\n\n"
            "  onggi tag --history NAME[:TAG]    what the name meant, since when, and by which verb\n"
            "  onggi tag --rollback NAME[:TAG]   back to what it meant before"
        ),
        run="tag:run",
        arity=TWO,
        arity_with={"history": ONE, "rollback": ONE},
        completes="image",
        flags=(
            list_format(),
            Flag("history", "bool", "Show what NAME meant, newest change first"),
            json_flag(),
            no_trunc(),
            Flag("rollback", "bool", "Let NAME mean what it meant before its last change"),
        ),
    )

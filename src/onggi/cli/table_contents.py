"""Rows of the command table: commands that look into layers and images, and carry images to other stores."""

from __future__ import annotations

from onggi.cli.command import Arity, Command
from onggi.cli.flags import Flag
from onggi.cli.table_flags import TWO, progress_flag, quiet

__all__ = ["contents_commands"]

_JSON = "Print exact values as one JSON array, an item a line"
_LAYER_NAMES = (
    "LAYER is any id of a layer (chainID, diffID, cache-id, link, blob digest) or the first digits\n"
    "of one, or IMAGE#N: the Nth layer of an image, 1 is the base."
)


def _json(what: str = _JSON) -> Flag:
    return Flag("json", "bool", what)


def _number() -> Flag:
    return Flag("layer", "int", "Take the Nth layer of the image named (1 is the base)")


def contents_commands() -> tuple[Command, ...]:
    """The rows."""
    return (*_layer_commands(), *_image_commands(), *_sync_commands())


def _layer_commands() -> tuple[Command, ...]:
    return (
        Command(
            "layer cat",
            usage="[OPTIONS] LAYER PATH",
            short="Print a file of a layer",
            long=f"Print a file as a layer has it, checked against what was unpacked.\n{_LAYER_NAMES}",
            run="layer:run_cat",
            arity=TWO,
            completes="image",
            flags=(_number(),),
        ),
        Command(
            "layer diff",
            usage="[OPTIONS] LAYER [LAYER]",
            short="Show what a layer adds (A), changes (C) and deletes (D)",
            long=(
                "Show what a layer adds (A), changes (C) and deletes (D) in the layers below it; of two\n"
                f"layers, what leads from the first, with all below it, to the second.\n{_LAYER_NAMES}"
            ),
            run="layer:run_diff",
            arity=Arity(1, 2),
            completes="image",
            flags=(_json(), _number()),
        ),
        Command(
            "layer ls",
            usage="[OPTIONS] LAYER [PATH]",
            short="List what a layer's archive holds",
            long=(
                "List what a layer's archive holds, in its order, whiteouts too; with PATH what is there\n"
                f"and below.\n{_LAYER_NAMES}"
            ),
            run="layer:run_ls",
            arity=Arity(1, 2),
            synonyms=("list",),
            completes="image",
            flags=(_json(), _number()),
        ),
    )


def _image_commands() -> tuple[Command, ...]:
    return (
        Command(
            "image cat",
            usage="IMAGE PATH",
            short="Print a file of an image",
            run="image_files:run_cat",
            arity=TWO,
            completes="image",
        ),
        Command(
            "image cp",
            usage="[OPTIONS] IMAGE:PATH DEST|-",
            short="Copy files and directories out of an image",
            long=(
                "Copy files and directories out of an image, without a container, by the rules of\n"
                "'docker cp': an existing directory DEST gets a copy in it, PATH/. is the content of PATH.\n"
                "With '-' the copy is written to standard output as a tar stream."
            ),
            run="image_files:run_cp",
            arity=TWO,
            completes="image",
            flags=(
                Flag("archive", "bool", "Archive mode (copy all uid/gid information)", short="a"),
                Flag("follow-link", "bool", "Always follow symbol link in SRC_PATH", short="L"),
                Flag(
                    "quiet",
                    "bool",
                    "Suppress the message at the end. It is suppressed without a terminal too",
                    short="q",
                ),
            ),
        ),
        Command(
            "image files",
            usage="[OPTIONS] IMAGE [PATH]",
            short="List files of an image: its layers as one tree",
            run="image_files:run",
            arity=Arity(1, 2),
            completes="image",
            flags=(_json(), Flag("recursive", "bool", "List everything below PATH", short="R")),
        ),
    )


def _sync_commands() -> tuple[Command, ...]:
    return (
        Command(
            "sync",
            usage="[OPTIONS] SOURCE DESTINATION [IMAGE...]",
            short="Copy images between data roots, here or over ssh",
            long=(
                "Copy images from one data root to another without a registry: only the layers that\n"
                "DESTINATION lacks, each verified by its diffID. SOURCE and DESTINATION are directories\n"
                "or ssh://[user@]host[:port]/path, where onggi must be installed too. Without IMAGE all\n"
                "images that have a name are copied; IMAGE by its id comes without a name."
            ),
            run="sync:run",
            arity=Arity(2, None),
            completes="directory",
            flags=(
                Flag("dry-run", "bool", "Show what would be copied; copy nothing"),
                _json("Print what was copied, or would be, as JSON"),
                progress_flag(),
                quiet("Suppress verbose output"),
                Flag(
                    "remote-program",
                    "string",
                    "How to call onggi on the other host, e.g. 'sudo onggi'",
                    default="onggi",
                ),
            ),
        ),
        Command(
            "sync-serve",
            usage="",
            short="The other end of sync over ssh: speaks its protocol on the standard streams",
            run="sync:run_serve",
            arity=Arity(0, 0),
            hidden=True,
        ),
    )

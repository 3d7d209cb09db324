"""The rows of the command table that prove what lies on disk, and put it right: verify, repair."""

from __future__ import annotations

from onggi.cli.command import Arity, Command
from onggi.cli.flags import Flag
from onggi.cli.table_flags import ONE, json_flag, progress_flag, quiet

__all__ = ["proving_commands"]


def proving_commands() -> tuple[Command, ...]:
    """The rows."""
    return (
        Command(
            "verify",
            usage="[OPTIONS] [IMAGE...]",
            short="Check images on disk, byte for byte, against what was pulled",
            long=(
                "Check images on disk, byte for byte, against what was pulled: configs, the ids that\n"
                "chain layers, every file and its metadata. What was changed, added or removed since is\n"
                "named, one line a path. Exit status 1 when something was found; 'onggi repair' heals it."
            ),
            run="verify:run",
            arity=Arity(0, None),
            completes="image",
            flags=(
                Flag("all", "bool", "Check the whole store: every image, and layers of no image", short="a"),
                Flag("fast", "bool", "Read no contents; compare metadata, sizes and times only"),
                json_flag("Print findings and counts as one JSON document"),
                quiet("Print nothing; the exit status tells"),
            ),
        ),
        Command(
            "repair",
            usage="[OPTIONS] IMAGE",
            short="Put an image right: mend, fetch and replace what is damaged",
            long=(
                "Put an image on disk right. It is verified first; metadata that follow from what is\n"
                "here are written anew, damaged layers are fetched from the registry and replaced under\n"
                "the ids they have, so that the images and containers on top of them find them.\n"
                "Refused while a container runs, or an image is mounted, on a layer that must be replaced."
            ),
            run="repair:run",
            arity=ONE,
            completes="image",
            flags=(
                Flag("force", "bool", "Replace layers under running containers and mounts", short="f"),
                json_flag("Print what was found and done as one JSON document"),
                progress_flag(),
                quiet("Print nothing but errors"),
            ),
        ),
    )

"""Rows of the command table: images on their way from and to a registry."""

from __future__ import annotations

from onggi.cli.command import Command
from onggi.cli.flags import Flag
from onggi.cli.table_flags import ONE, json_flag, progress_flag, quiet

__all__ = ["transfer_commands"]


def transfer_commands() -> tuple[Command, ...]:
    """pull, push."""
    return _pull(), _push()


def _pull() -> Command:
    return Command(
        "image pull",
        "pull",
        usage="[OPTIONS] NAME[:TAG|@DIGEST]",
        short="Download an image from a registry",
        run="pull:run",
        arity=ONE,
        completes="repository",
        flags=(
            Flag("all-tags", "bool", "Download all tagged images in the repository", short="a"),
            Flag(
                "disable-content-trust",
                "bool",
                "Accepted for Docker's sake; digests are always verified",
                default=True,
            ),
            Flag("format", "string", "Format the plan of --plan using a Go template"),
            json_flag("The same as --progress json; with --plan, print the plan as JSON"),
            Flag("keep-blobs", "bool", "Keep what was received, so that a push sends the same bytes"),
            Flag("limit-rate", "size", "Receive at most this many bytes a second (e.g. 10MB)"),
            Flag("max-concurrent-downloads", "int", "Layers to download at once (default 3)"),
            Flag("plan", "bool", "Show what a pull would fetch and need; fetch nothing"),
            Flag("platform", "string", "Set platform if server is multi-platform capable"),
            progress_flag("json"),
            quiet("Suppress verbose output"),
            Flag("verify", "bool", "Prove the layers that are here already as well; repair damaged ones"),
        ),
    )


def _push() -> Command:
    return Command(
        "image push",
        "push",
        usage="[OPTIONS] NAME[:TAG]",
        short="Upload an image to a registry",
        run="push:run",
        arity=ONE,
        completes="image",
        flags=(
            Flag("all-platforms", "bool", "Push an index of all platforms of the name that are here"),
            Flag("all-tags", "bool", "Push all tags of an image to the repository", short="a"),
            Flag(
                "compression",
                "string",
                "Compress layers this way (gzip, zstd, none); by default as they came, else gzip",
                choices=("gzip", "zstd", "none"),
            ),
            Flag(
                "disable-content-trust",
                "bool",
                "Accepted for Docker's sake; nothing is signed",
                default=True,
            ),
            json_flag("The same as --progress json"),
            Flag("max-concurrent-uploads", "int", "Layers to upload at once (default 5)"),
            Flag("oci", "bool", "Write an OCI manifest; with =false one of Docker's (default as it came)"),
            Flag(
                "platform",
                "list",
                "Push the image for this platform (e.g. linux/amd64); given several times, an index of them",
            ),
            progress_flag("json"),
            quiet("Suppress verbose output"),
        ),
    )

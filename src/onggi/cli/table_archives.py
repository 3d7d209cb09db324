"""The rows of the command table that read and write archives."""

from __future__ import annotations

from onggi.cli.command import Arity, Command
from onggi.cli.flags import Flag
from onggi.cli.table_flags import progress_flag

__all__ = ["archive_commands"]

_PLATFORM = '. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")'


def archive_commands() -> tuple[Command, ...]:
    """import, load, save."""
    return _import(), _load(), _save()


def _import() -> Command:
    return Command(
        "image import",
        "import",
        usage="[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
        short="Import the contents from a tarball to create a filesystem image",
        run="import_:run",
        arity=Arity(1, 2),
        completes="file",
        flags=(
            Flag("change", "list", "Apply Dockerfile instruction to the created image", short="c"),
            Flag("message", "string", "Set commit message for imported image", short="m"),
            Flag("platform", "string", "Set platform if server is multi-platform capable"),
        ),
    )


def _load() -> Command:
    return Command(
        "image load",
        "load",
        usage="[OPTIONS]",
        short="Load an image from a tar archive or STDIN",
        long=(
            "Load an image from a tar archive or STDIN\n\n"
            "The archive is Docker's, of any version, or an OCI layout.\n\n"
            "Of an image for several platforms the one for this host is loaded; --all-platforms loads\n"
            "all that are there, and the name goes to the one for this host, the others are called by\n"
            "name and digest. An archive of before Docker 1.10 (without manifest.json) becomes the\n"
            "images that dockerd makes of it, up to 28, the same ids included; Docker 29 refuses it."
        ),
        run="load:run",
        arity=Arity(0, 0),
        flags=(
            Flag("all-platforms", "bool", "Load all platforms that the archive has of an image"),
            Flag(
                "input",
                "string",
                "Read from tar archive file, or a directory with an OCI layout, instead of STDIN",
                short="i",
                completes="file",
            ),
            Flag("json", "bool", "The same as --progress json"),
            Flag("platform", "list", "Load only the given platform variant" + _PLATFORM),
            progress_flag("json"),
            Flag("quiet", "bool", "Suppress the load output", short="q"),
        ),
    )


def _save() -> Command:
    return Command(
        "image save",
        "save",
        usage="[OPTIONS] IMAGE [IMAGE...]",
        short="Save one or more images to a tar archive",
        long="Save one or more images to a tar archive (streamed to STDOUT by default)",
        run="save:run",
        arity=Arity(1, None),
        completes="image",
        flags=(
            Flag(
                "compression",
                "string",
                "Compress the layers of an OCI layout (gzip, zstd)",
                choices=("gzip", "zstd"),
            ),
            Flag(
                "format",
                "string",
                "Layout of the archive: docker (with OCI's beside it) or oci alone",
                default="docker",
                choices=("docker", "oci"),
            ),
            Flag("output", "string", "Write to a file, instead of STDOUT", short="o", completes="file"),
            Flag("platform", "string", "Save only the given platform variant" + _PLATFORM),
        ),
    )

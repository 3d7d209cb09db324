"""The command table: every command, flag and help text, in one place.

Help, parsing, completion and ``docs/cli.md`` are made from it. Nothing here imports what a
command needs; ``run`` names it.
"""

from __future__ import annotations

from onggi.cli.command import Arity, Command, Group, Program
from onggi.cli.flags import Flag
from onggi.cli.table_archives import archive_commands
from onggi.cli.table_boot import boot_commands
from onggi.cli.table_containers import container_commands
from onggi.cli.table_contents import contents_commands
from onggi.cli.table_flags import AT_MOST_ONE as _AT_MOST_ONE
from onggi.cli.table_flags import FORMAT_LIST as _FORMAT_LIST
from onggi.cli.table_flags import FORMAT_ONE as _FORMAT_ONE
from onggi.cli.table_flags import NONE as _NONE
from onggi.cli.table_flags import ONE as _ONE
from onggi.cli.table_flags import SOME as _SOME
from onggi.cli.table_flags import filter_flag as _filter
from onggi.cli.table_flags import json_flag as _json
from onggi.cli.table_flags import list_format as _list_format
from onggi.cli.table_flags import no_trunc as _no_trunc
from onggi.cli.table_flags import one_format as _one_format
from onggi.cli.table_flags import quiet as _quiet
from onggi.cli.table_networks import network_commands
from onggi.cli.table_proving import proving_commands
from onggi.cli.table_transfers import transfer_commands
from onggi.cli.table_upkeep import upkeep_commands
from onggi.cli.table_volumes import volume_commands

__all__ = ["program"]

_GLOBAL = (
    Flag(
        "config-file",
        "string",
        "Configuration file to read, in the form of Docker's daemon.json",
        default="/etc/onggi/daemon.json",
        completes="file",
    ),
    Flag(
        "data-root",
        "string",
        "Directory that holds images and layers (without root: $XDG_DATA_HOME/onggi)",
        default="/var/lib/onggi",
        completes="directory",
    ),
    Flag("debug", "bool", "Show where an error comes from", short="D"),
    Flag("host", "list", "Refused: there is no daemon to connect to", short="H"),
    Flag("storage-driver", "string", "Storage driver to use", choices=("auto", "erofs", "overlay2")),
    Flag("storage-opt", "list", "Storage driver options"),
    Flag("version", "bool", "Print version information and quit", short="v"),
)

# Of the first help page, in this order.
_SECTIONS = (
    (
        "Common Commands",
        "run exec ps pull push images history inspect tag rmi login logout version info",
    ),
    (
        "Containers",
        "create start stop restart kill pause unpause wait logs attach port rename rm",
    ),
    ("Inside Containers", "cp diff commit export top stats update"),
    ("Archives", "save load import sync"),
    ("Look Inside", "layers explain verify repair doctor events"),
    ("Keep in Order", "gc boot"),
    ("Management Commands", "container image layer network remote storage system volume"),
    ("Shell", "completion help"),
)

_GROUPS = (
    Group("container", "Manage containers"),
    Group("image", "Manage images"),
    Group("layer", "Look into layers"),
    Group("network", "Manage networks"),
    Group("remote", "Look at a registry without pulling"),
    Group("storage", "Manage how layers are kept"),
    Group("system", "Manage the data root"),
    Group("volume", "Manage volumes"),
)


def _image_commands() -> tuple[Command, ...]:
    return (
        Command(
            "image history",
            "history",
            usage="[OPTIONS] IMAGE",
            short="Show the history of an image",
            run="history:run",
            arity=_ONE,
            completes="image",
            flags=(
                _list_format(),
                Flag(
                    "human",
                    "bool",
                    "Print sizes and dates in human readable format",
                    short="H",
                    default=True,
                ),
                _json(),
                _no_trunc(),
                _quiet(),
            ),
        ),
        Command(
            "image inspect",
            usage="[OPTIONS] IMAGE [IMAGE...]",
            short="Display detailed information on one or more images",
            run="inspect:run_image",
            arity=_SOME,
            completes="image",
            flags=(_one_format(), _json("Print the JSON array (default)")),
        ),
        Command(
            "image ls",
            "images",
            usage="[OPTIONS] [REPOSITORY[:TAG]]",
            short="List images",
            run="images:run",
            arity=_AT_MOST_ONE,
            synonyms=("list",),
            completes="repository",
            flags=(
                Flag("all", "bool", "Show all images (default hides intermediate images)", short="a"),
                Flag("digests", "bool", "Show digests"),
                _filter(),
                _list_format(),
                _json(),
                _no_trunc(),
                _quiet(),
            ),
        ),
        *_image_changes(),
        *_mount_commands(),
    )


def _image_changes() -> tuple[Command, ...]:
    return (
        *archive_commands(),
        *transfer_commands(),
        Command(
            "image prune",
            usage="[OPTIONS]",
            short="Remove unused images",
            run="remove:run_prune",
            arity=_NONE,
            flags=(
                Flag("all", "bool", "Remove all unused images, not just dangling ones", short="a"),
                _filter('Provide filter values (e.g. "until=<timestamp>")', short=""),
                Flag("force", "bool", "Do not prompt for confirmation", short="f"),
                _json("Print what was removed as JSON"),
            ),
        ),
        Command(
            "image rm",
            "rmi",
            usage="[OPTIONS] IMAGE [IMAGE...]",
            short="Remove one or more images",
            run="remove:run",
            arity=_SOME,
            synonyms=("remove",),
            completes="image",
            flags=(
                Flag("force", "bool", "Force removal of the image", short="f"),
                _json("Print what was removed as JSON"),
                Flag("no-prune", "bool", "Do not delete untagged parents"),
            ),
        ),
    )


def _mount_commands() -> tuple[Command, ...]:
    return (
        Command(
            "image mount",
            usage="[OPTIONS] [IMAGE [DIRECTORY]]",
            short="Mount an image read-only and print where; without arguments list mounts",
            long=(
                "Mount an image read-only and print where. Without DIRECTORY the place is chosen in\n"
                "the data root; without arguments the mounted images are listed."
            ),
            run="mount:run",
            arity=Arity(0, 2),
            completes="image",
            flags=(_list_format(), _json(), _no_trunc()),
        ),
        Command(
            "image unmount",
            usage="[OPTIONS] [IMAGE|DIRECTORY...]",
            short="Unmount images mounted with 'image mount'",
            run="mount:run_unmount",
            arity=Arity(0, None),
            synonyms=("umount",),
            completes="mount",
            flags=(Flag("all", "bool", "Unmount all mounted images", short="a"),),
        ),
    )


def _inside_commands() -> tuple[Command, ...]:
    return (
        Command(
            "layers",
            usage="[OPTIONS] IMAGE",
            short="Show an image's layers: every id, the files, what made them",
            long=(
                "Show an image's layers, top layer first. Each is shown under every name it has: the\n"
                "blob a registry serves, the diffID in the image's RootFS, the chainID that names its\n"
                "directory in layerdb, and the cache-id that names the directory of its files."
            ),
            run="layers:run",
            arity=_ONE,
            completes="image",
            flags=(
                _list_format(),
                _json(),
                _no_trunc(),
                Flag("wasted", "bool", "Show what each layer adds, changes, removes and wastes"),
            ),
        ),
        Command(
            "explain",
            usage="[OPTIONS] ID-OR-PATH [ID-OR-PATH...]",
            short="Say what an id, a name, a path or IMAGE:/PATH is",
            run="explain:run",
            arity=_SOME,
            completes="image",
            flags=(_one_format(), _json()),
        ),
        *proving_commands(),
        Command(
            "doctor",
            usage="[OPTIONS]",
            short="Check the host and the data root; say how to mend them",
            run="doctor:run",
            arity=_NONE,
            flags=(_list_format(), _json()),
        ),
        *_remote_commands(),
    )


def _remote_commands() -> tuple[Command, ...]:
    return (
        Command(
            "remote inspect",
            usage="[OPTIONS] NAME[:TAG|@DIGEST]",
            short="Show manifests and platforms of an image at its registry",
            run="remote:run_inspect",
            arity=_ONE,
            completes="repository",
            flags=(
                _one_format(),
                _json(),
                _no_trunc(),
                Flag("raw", "bool", "Print the manifest as the registry sends it"),
            ),
        ),
        Command(
            "remote ls",
            usage="[OPTIONS] NAME",
            short="List the tags of a repository at its registry",
            run="remote:run_tags",
            arity=_ONE,
            synonyms=("tags",),
            completes="repository",
            flags=(Flag("format", "string", _FORMAT_LIST), _json("Print the tags as a JSON array")),
        ),
    )


def _system_commands() -> tuple[Command, ...]:
    return (
        Command(
            "system df",
            usage="[OPTIONS]",
            short="Show disk usage",
            run="df:run",
            arity=_NONE,
            flags=(
                _list_format(),
                _json(),
                Flag("verbose", "bool", "Show detailed information on space usage", short="v"),
            ),
        ),
        Command(
            "system events",
            "events",
            usage="[OPTIONS]",
            short="Get real time events, or those on record with --since",
            run="events:run",
            arity=_NONE,
            flags=(
                _filter(),
                Flag("format", "string", _FORMAT_ONE),
                _json("The same as --format json"),
                Flag("since", "string", "Show all events created since timestamp"),
                Flag("until", "string", "Stream events until this timestamp"),
            ),
        ),
        Command(
            "system info",
            "info",
            usage="[OPTIONS]",
            short="Display system-wide information",
            run="info:run",
            arity=_NONE,
            flags=(_one_format(), _json("The same as --format json")),
        ),
        Command(
            "version",
            usage="[OPTIONS]",
            short="Show the version information",
            run="version:run",
            arity=_NONE,
            flags=(_one_format(), _json("The same as --format json")),
        ),
        *_other_commands(),
    )


def _other_commands() -> tuple[Command, ...]:
    return (
        Command(
            "inspect",
            usage="[OPTIONS] NAME|ID [NAME|ID...]",
            short="Return low-level information on objects",
            run="inspect:run_any",
            arity=_SOME,
            completes="object",
            flags=(
                _one_format(),
                _json("Print the JSON array (default)"),
                Flag("size", "bool", "Display total file sizes if the type is container", short="s"),
                Flag(
                    "type",
                    "string",
                    "Only inspect objects of the given type",
                    suggests=("container", "image", "network", "volume"),
                ),
            ),
        ),
        Command(
            "login",
            usage="[OPTIONS] [SERVER]",
            short="Authenticate to a registry",
            long="Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
            run="login:run",
            arity=_AT_MOST_ONE,
            completes="server",
            flags=(
                Flag("password", "string", "Password or Personal Access Token (PAT)", short="p"),
                Flag("password-stdin", "bool", "Take the Password or Personal Access Token (PAT) from stdin"),
                Flag("username", "string", "Username", short="u"),
            ),
        ),
        Command(
            "logout",
            usage="[SERVER]",
            short="Log out from a registry",
            long="Log out from a registry.\nIf no server is specified, the default is Docker Hub.",
            run="login:run_logout",
            arity=_AT_MOST_ONE,
            completes="server",
        ),
        *_shell_commands(),
    )


def _shell_commands() -> tuple[Command, ...]:
    return (
        Command(
            "completion",
            usage="SHELL",
            short="Print the completion script for bash, zsh or fish",
            long=(
                "Print the completion script for bash, zsh or fish.\n\n"
                "  bash:  source <(onggi completion bash)\n"
                "  zsh:   source <(onggi completion zsh)\n"
                "  fish:  onggi completion fish | source\n\n"
                "To load it in every new session, put that line into ~/.bashrc, ~/.zshrc or\n"
                "~/.config/fish/config.fish."
            ),
            run="completion:run",
            arity=_ONE,
            completes="shell",
        ),
        Command(
            "help",
            usage="[OPTIONS] [COMMAND]",
            short="Show help on a command",
            run="help:run",
            arity=Arity(0, None),
            completes="command",
            flags=(Flag("markdown", "bool", "Print the reference of all commands as Markdown"),),
        ),
    )


def program() -> Program:
    """The table."""
    return Program(
        _GLOBAL,
        _GROUPS,
        (
            *container_commands(),
            *network_commands(),
            *volume_commands(),
            *_image_commands(),
            *_inside_commands(),
            *contents_commands(),
            *_system_commands(),
            *upkeep_commands(),
            *boot_commands(),
        ),
        tuple((title, tuple(names.split())) for title, names in _SECTIONS),
    )

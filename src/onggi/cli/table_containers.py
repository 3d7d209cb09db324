"""The rows of the command table for containers."""

from __future__ import annotations

from onggi.cli.command import Arity, Command
from onggi.cli.flags import Flag
from onggi.cli.table_container_files import container_file_commands
from onggi.cli.table_container_watching import container_watching_commands
from onggi.cli.table_flags import (
    NONE,
    ONE,
    SOME,
    TWO,
    filter_flag,
    json_flag,
    list_format,
    no_trunc,
    one_format,
)

__all__ = ["container_commands"]

_AT_LEAST_TWO = Arity(2, None)


def container_commands() -> tuple[Command, ...]:
    """The rows."""
    return (
        *_making(),
        *_living(),
        *_joining(),
        *_looking(),
        *_facts(),
        *container_file_commands(),
        *container_watching_commands(),
    )


def _detach_keys() -> Flag:
    return Flag("detach-keys", "string", "Override the key sequence for detaching a container")


def _simple(name: str, short: str, flags: tuple[Flag, ...] = (), *, long: str = "") -> Command:
    """A command that does one thing to each container named."""
    usage = "[OPTIONS] CONTAINER [CONTAINER...]" if flags else "CONTAINER [CONTAINER...]"
    return Command(
        f"container {name}",
        name,
        usage=usage,
        short=short,
        long=long,
        run=f"containers:{name}",
        arity=SOME,
        completes="container",
        flags=flags,
    )


def _making() -> tuple[Command, ...]:
    usage = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
    return (
        Command(
            "container run",
            "run",
            usage=usage,
            short="Create and run a new container from an image",
            run="run:run",
            arity=SOME,
            completes="image",
            flags="container_flags:run_flags",
            interspersed=False,
        ),
        Command(
            "container create",
            "create",
            usage=usage,
            short="Create a new container",
            run="run:create",
            arity=SOME,
            completes="image",
            flags="container_flags:create_flags",
            interspersed=False,
        ),
    )


def _living() -> tuple[Command, ...]:
    signal = Flag("signal", "string", "Signal to send to the container", short="s")
    return (
        _simple(
            "start",
            "Start one or more stopped containers",
            (
                Flag("attach", "bool", "Attach STDOUT/STDERR and forward signals", short="a"),
                _detach_keys(),
                Flag("interactive", "bool", "Attach container's STDIN", short="i"),
            ),
        ),
        _simple("stop", "Stop one or more running containers", (signal, *_patience())),
        _simple("restart", "Restart one or more containers", (signal, *_patience())),
        _simple("kill", "Kill one or more running containers", (signal,)),
        _simple("pause", "Pause all processes within one or more containers"),
        _simple("unpause", "Unpause all processes within one or more containers"),
        _simple(
            "wait",
            "Block until containers stop, then print their exit codes",
            long="Block until one or more containers stop, then print their exit codes",
        ),
        Command(
            "container rm",
            "rm",
            usage="[OPTIONS] CONTAINER [CONTAINER...]",
            short="Remove one or more containers",
            run="containers:remove",
            arity=SOME,
            synonyms=("remove",),
            completes="container",
            flags=(
                Flag("force", "bool", "Force the removal of a running container (uses SIGKILL)", short="f"),
                Flag("link", "bool", "Remove the specified link", short="l"),
                Flag("volumes", "bool", "Remove anonymous volumes associated with the container", short="v"),
            ),
        ),
        Command(
            "container rename",
            "rename",
            usage="CONTAINER NEW_NAME",
            short="Rename a container",
            run="containers:rename",
            arity=TWO,
            completes="container",
        ),
        Command(
            "container prune",
            usage="[OPTIONS]",
            short="Remove all stopped containers",
            run="containers:prune",
            arity=NONE,
            flags=(
                filter_flag('Provide filter values (e.g. "until=<timestamp>")', short=""),
                Flag("force", "bool", "Do not prompt for confirmation", short="f"),
                json_flag("Print what was removed as JSON"),
            ),
        ),
    )


def _patience() -> tuple[Flag, ...]:
    """The second is what the first was called before Docker 28."""
    seconds = "Seconds to wait before killing the container"
    return Flag("timeout", "int", seconds, short="t"), Flag("time", "int", seconds, hidden=True)


def _joining() -> tuple[Command, ...]:
    return (
        Command(
            "container exec",
            "exec",
            usage="[OPTIONS] CONTAINER COMMAND [ARG...]",
            short="Execute a command in a running container",
            run="exec:run",
            arity=_AT_LEAST_TWO,
            completes="container",
            interspersed=False,
            flags=(
                Flag("detach", "bool", "Detached mode: run command in the background", short="d"),
                _detach_keys(),
                Flag("env", "list", "Set environment variables", short="e", check="environment"),
                Flag("env-file", "list", "Read in a file of environment variables", completes="file"),
                Flag("interactive", "bool", "Keep STDIN open even if not attached", short="i"),
                Flag("privileged", "bool", "Give extended privileges to the command"),
                Flag("tty", "bool", "Allocate a pseudo-TTY", short="t"),
                Flag("user", "string", 'Username or UID (format: "<name|uid>[:<group|gid>]")', short="u"),
                Flag("workdir", "string", "Working directory inside the container", short="w"),
            ),
        ),
        Command(
            "container attach",
            "attach",
            usage="[OPTIONS] CONTAINER",
            short="Attach local standard streams to a running container",
            long="Attach local standard input, output, and error streams to a running container",
            run="containers:attach",
            arity=ONE,
            completes="container",
            flags=(
                _detach_keys(),
                Flag("no-stdin", "bool", "Do not attach STDIN"),
                Flag("sig-proxy", "bool", "Proxy all received signals to the process", default=True),
            ),
        ),
    )


def _looking() -> tuple[Command, ...]:
    return (
        Command(
            "container ls",
            "ps",
            usage="[OPTIONS]",
            short="List containers",
            run="ps:run",
            arity=NONE,
            synonyms=("list", "ps"),
            flags=(
                Flag("all", "bool", "Show all containers (default shows just running)", short="a"),
                filter_flag(),
                list_format(),
                json_flag(),
                Flag(
                    "last",
                    "int",
                    "Show n last created containers (includes all states)",
                    short="n",
                    default=-1,
                ),
                Flag("latest", "bool", "Show the latest created container (includes all states)", short="l"),
                no_trunc(),
                Flag("quiet", "bool", "Only display container IDs", short="q"),
                Flag("size", "bool", "Display total file sizes", short="s"),
            ),
        ),
        Command(
            "container logs",
            "logs",
            usage="[OPTIONS] CONTAINER",
            short="Fetch the logs of a container",
            run="logs:run",
            arity=ONE,
            completes="container",
            flags=(
                Flag("details", "bool", "Show extra details provided to logs"),
                Flag("follow", "bool", "Follow log output", short="f"),
                Flag("since", "string", _time_help("Show logs since timestamp")),
                Flag(
                    "tail",
                    "string",
                    "Number of lines to show from the end of the logs",
                    short="n",
                    default="all",
                ),
                Flag("timestamps", "bool", "Show timestamps", short="t"),
                Flag("until", "string", _time_help("Show logs before a timestamp")),
            ),
        ),
    )


def _facts() -> tuple[Command, ...]:
    return (
        Command(
            "container port",
            "port",
            usage="CONTAINER [PRIVATE_PORT[/PROTO]]",
            short="List port mappings or a specific mapping for the container",
            run="ports:run",
            arity=Arity(1, 2),
            completes="container",
        ),
        Command(
            "container inspect",
            usage="[OPTIONS] CONTAINER [CONTAINER...]",
            short="Display detailed information on one or more containers",
            run="inspect:run_container",
            arity=SOME,
            completes="container",
            flags=(
                one_format(),
                json_flag("Print the JSON array (default)"),
                Flag("size", "bool", "Display total file sizes", short="s"),
            ),
        ),
    )


def _time_help(what: str) -> str:
    return f'{what} (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)'

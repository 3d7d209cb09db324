"""The rows of the command table for what a container does and may use."""

from __future__ import annotations

from onggi.cli.command import Arity, Command
from onggi.cli.flags import Flag
from onggi.cli.table_flags import SOME, json_flag, list_format

__all__ = ["container_watching_commands"]


def container_watching_commands() -> tuple[Command, ...]:
    """The rows."""
    return _stats(), _top(), _update()


def _stats() -> Command:
    return Command(
        "container stats",
        "stats",
        usage="[OPTIONS] [CONTAINER...]",
        short="Display a live stream of container(s) resource usage statistics",
        run="container_watching:run_stats",
        arity=Arity(0, None),
        completes="container",
        flags=(
            Flag("all", "bool", "Show all containers (default shows just running)", short="a"),
            list_format(),
            json_flag("The same as --format json"),
            Flag("no-stream", "bool", "Disable streaming stats and only pull the first result"),
            Flag("no-trunc", "bool", "Do not truncate output"),
        ),
    )


def _top() -> Command:
    return Command(
        "container top",
        "top",
        usage="CONTAINER [ps OPTIONS]",
        short="Display the running processes of a container",
        run="container_watching:run_top",
        arity=SOME,
        completes="container",
        interspersed=False,
    )


def _update() -> Command:
    return Command(
        "container update",
        "update",
        usage="[OPTIONS] CONTAINER [CONTAINER...]",
        short="Update configuration of one or more containers",
        run="container_watching:run_update",
        arity=SOME,
        completes="container",
        flags=(
            Flag(
                "blkio-weight",
                "string",
                "Block IO (relative weight), between 10 and 1000, or 0 to disable",
                check="weight",
                metavar="uint16",
                shown_default="0",
            ),
            Flag("cpu-period", "int", "Limit CPU CFS (Completely Fair Scheduler) period"),
            Flag("cpu-quota", "int", "Limit CPU CFS (Completely Fair Scheduler) quota"),
            Flag("cpu-rt-period", "int", "Limit the CPU real-time period in microseconds"),
            Flag("cpu-rt-runtime", "int", "Limit the CPU real-time runtime in microseconds"),
            Flag("cpu-shares", "int", "CPU shares (relative weight)", short="c"),
            Flag("cpus", "string", "Number of CPUs", check="cpus", metavar="decimal"),
            Flag("cpuset-cpus", "string", "CPUs in which to allow execution (0-3, 0,1)"),
            Flag("cpuset-mems", "string", "MEMs in which to allow execution (0-3, 0,1)"),
            Flag(
                "kernel-memory",
                "string",
                "Kernel memory limit",
                check="memory",
                metavar="bytes",
                hidden=True,
            ),
            Flag("memory", "string", "Memory limit", short="m", check="memory", metavar="bytes"),
            Flag("memory-reservation", "string", "Memory soft limit", check="memory", metavar="bytes"),
            Flag(
                "memory-swap",
                "string",
                "Swap limit equal to memory plus swap: -1 to enable unlimited swap",
                check="bytes_or_none",
                metavar="bytes",
            ),
            Flag("pids-limit", "int", "Tune container pids limit (set -1 for unlimited)"),
            Flag("restart", "string", "Restart policy to apply when a container exits"),
        ),
    )

"""Commands that only look: what a user waits for at the prompt.

Both engines hold the same images; each command runs alternately, its output thrown away.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from bench import images, report
from bench.machine import enter_private_mounts, file_system, find, timed
from bench.pull import add_options, prepare, registry
from bench.systems import Dockerd, Onggi, install_onggi

__all__ = ["main"]

_CHECKOUT = Path(__file__).resolve().parents[1]
# Small: what they hold does not matter to commands that look.
_SIZES = images.Sizes(files=600, small_bytes=6_000_000, large_bytes=4_000_000)


def run_quietly(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run to the end with as little as possible around it."""
    actions = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1)]
    pid = os.posix_spawnp(command[0], list(command), environment, file_actions=actions)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {status}")


def alternate(
    commands: Mapping[str, Sequence[str]], environment: Mapping[str, str], runs: int
) -> dict[str, list[float]]:
    """Seconds of each command; one run of each is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            spent = timed(partial(run_quietly, command, environment))
            if turn:
                seconds[name].append(spent)
    return seconds


def compare(onggi: Onggi, docker: Dockerd | None, reference: str, runs: int) -> str:
    """The table: one row a command."""
    rows = []
    for words in (["images"], ["history", reference], ["--version"]):
        commands = {"onggi": onggi.words(*words)}
        environment = dict(os.environ)
        if docker is not None:
            commands["docker"] = docker.words(*words)
            environment |= docker.environment
        seconds = alternate(commands, environment, runs)
        base = seconds.get("docker")
        rows.append(
            [
                f"`{words[0]}`",
                report.spread(seconds["onggi"], 0.001, 1),
                report.spread(base, 0.001, 1) if base else "–",
                report.ratio(seconds["onggi"], base),
            ]
        )
    return report.table(["", "onggi, ms", "docker, ms", "ratio"], rows)


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench cli", description=__doc__)
    add_options(parser)
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args(words)
    enter_private_mounts()
    with tempfile.TemporaryDirectory(prefix="onggi-bench-", dir=options.work) as directory:
        work = Path(directory)
        onggi = Onggi(options.onggi or install_onggi(_CHECKOUT, work))
        names = prepare(work, _SIZES, [])
        docker = Dockerd(work) if find("dockerd") else None
        systems = [onggi, docker] if docker else [onggi]
        with registry(work) as host, file_system(work) as disk:
            for system in systems:
                system.start(disk)
            try:
                for system in systems:
                    for name in names:
                        system.pull(f"{host}/{name}")
                print(f"Medians of {options.runs} (least–most), {len(names)} images.\n\n{report.machine()}")
                print(compare(onggi, docker, f"{host}/{names[0]}", options.runs))
            finally:
                for system in systems:
                    system.stop()

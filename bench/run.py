"""Containers: from the start of a command to its exit.

Both engines hold the same busybox, on a disk of their own, and take turns. Onggi's bridge is in a
network namespace of this process, dockerd's in one of its own: neither meets the host's. Beside them
stands what no Python program on runc can do without: an interpreter that does nothing, and runc alone
with the same configuration.
"""

from __future__ import annotations

import argparse
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench import report
from bench.cli import run_quietly
from bench.machine import enter_private_mounts, enter_private_network, file_system, find, timed
from bench.pull import add_options
from bench.stage import Engine, in_turn
from bench.systems import Dockerd, Onggi, install_onggi

__all__ = ["main"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_IMAGE, _KEPT = "box", "kept"
_IN_A_ROW, _AT_ONCE, _WATCHED, _LISTED = 50, 8, 10, 500
Action = Callable[[Engine], object]


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench run", description=__doc__)
    add_options(parser)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args(words)
    enter_private_mounts()
    with tempfile.TemporaryDirectory(prefix="onggi-bench-", dir=options.work) as directory:
        work = Path(directory)
        program = options.onggi or install_onggi(_CHECKOUT, work)
        enter_private_network()
        print(f"Medians of {options.runs} (least–most).\n\n{report.machine()}")
        with _engines(work, program) as engines:
            header = ["", *(engine.name for engine in engines), "ratio"]
            for title, rows in _tables(engines, options.runs):
                print(f"### {title}\n\n{report.table(header, rows)}", flush=True)
            rows = _floor(engines[0], program, work, options.runs)
            print(f"### what there is no way around, s\n\n{report.table(['', 'alone'], rows)}", flush=True)


@contextmanager
def _engines(work: Path, program: Path) -> Iterator[list[Engine]]:
    """Onggi, and dockerd where it is installed, with the image."""
    engines: list[Engine] = [Onggi(program, exec_root=work / "run")]
    if find("dockerd") is None:
        print("dockerd is not installed: not measured\n")
    else:
        engines.append(Dockerd(work, own_network=True))
    archive = _busybox(work / "box.tar")
    with ExitStack() as stack:
        for engine in engines:
            place = work / engine.name
            place.mkdir()
            engine.start(stack.enter_context(file_system(place)))
            stack.callback(engine.stop)
            stack.callback(partial(_remove_all, engine))
            engine.command("import", str(archive), _IMAGE)
        yield engines


def _busybox(path: Path) -> Path:
    """A root file system with one program under a few names."""
    with tarfile.open(path, "w") as archive:
        archive.add(find("busybox") or "/bin/busybox", "bin/busybox")
        for name in ("sh", "sleep", "true"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return path


def _remove_all(engine: Engine) -> None:
    ids = engine.command("ps", "-aq").split()
    for start in range(0, len(ids), _IN_A_ROW):
        engine.command("rm", "-f", *ids[start : start + _IN_A_ROW])


# --- what is measured ---------------------------------------------------------------------------


def _tables(engines: Sequence[Engine], runs: int) -> Iterator[tuple[str, list[list[str]]]]:
    few = max(1, runs // 10)
    none = partial(_command, words=("run", "--rm", "--network", "none", _IMAGE, "true"))
    bridge = partial(_command, words=("run", "--rm", _IMAGE, "true"))
    yield (
        "run, s",
        [
            _seconds("`run --rm --network none`", engines, runs, none),
            _seconds("`run --rm`, bridge", engines, runs, bridge),
            _seconds(f"{_IN_A_ROW} in a row", engines, few, partial(_in_a_row, action=none)),
            _seconds(f"{_AT_ONCE} at once", engines, few, _at_once),
        ],
    )
    before = _processes()
    for engine in engines:
        for number in range(_WATCHED):
            name = f"{_KEPT}{number}"
            engine.command("run", "-d", "--name", name, "--network", "none", _IMAGE, "sleep", "9999")
    execute = partial(_command, words=("exec", f"{_KEPT}0", "true"))
    yield "exec, s", [_seconds("`exec CONTAINER true`", engines, runs, execute)]
    yield f"memory beside each of {_WATCHED} containers, PSS, MB", [_memory(engines, before)]
    for engine in engines:
        _remove_all(engine)
        for _ in range(_LISTED):
            _command(engine, ("create", "--network", "none", _IMAGE, "true"))
    listing = partial(_command, words=("ps", "-a"))
    yield f"ps with {_LISTED} containers, s", [_seconds("`ps -a`", engines, runs, listing)]


def _seconds(name: str, engines: Sequence[Engine], runs: int, action: Action) -> list[str]:
    """One row; the first round is not counted."""
    spent: dict[str, list[float]] = {engine.name: [] for engine in engines}
    for turn, engine in in_turn(engines, runs + 1):
        seconds = timed(partial(action, engine))
        if turn:
            spent[engine.name].append(seconds)
    return [
        name,
        *(report.spread(values, digits=3) for values in spent.values()),
        _ratio(list(spent.values())),
    ]


def _ratio(values: Sequence[Sequence[float]]) -> str:
    return report.ratio(values[0], values[1] if len(values) > 1 else None)


def _environment(engine: Engine) -> dict[str, str]:
    return {**os.environ, **engine.environment}


def _command(engine: Engine, words: Sequence[str]) -> None:
    run_quietly(engine.words(*words), _environment(engine))


def _in_a_row(engine: Engine, action: Action) -> None:
    for _ in range(_IN_A_ROW):
        action(engine)


def _at_once(engine: Engine) -> None:
    command = engine.words("run", "--rm", "--network", "none", _IMAGE, "true")
    actions = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1)]
    started = [
        os.posix_spawnp(command[0], command, _environment(engine), file_actions=actions)
        for _ in range(_AT_ONCE)
    ]
    if any(os.waitpid(pid, 0)[1] for pid in started):
        raise SystemExit(f"{' '.join(command)}: one of {_AT_ONCE} at once failed")


# --- the floor ----------------------------------------------------------------------------------


def _floor(engine: Engine, program: Path, work: Path, runs: int) -> list[list[str]]:
    """An interpreter's start, and runc on the bundle of a container that runs at this time."""
    bundle = work / "bundle"
    with tarfile.open(work / "box.tar") as archive:
        archive.extractall(bundle / "rootfs", filter="fully_trusted")
    id = engine.command("run", "-d", "--network", "none", _IMAGE, "sleep", "9999").strip()
    config = json.loads((work / "run/containers" / id / "config.json").read_text())
    config["process"]["args"] = ["true"]
    config["root"]["path"] = str(bundle / "rootfs")
    config["linux"]["cgroupsPath"] += "-alone"
    (bundle / "config.json").write_text(json.dumps(config))
    commands = {
        "`python -c pass`": [str(program.parent / "python"), "-c", "pass"],
        "`runc run`": ["runc", "--root", str(work / "runc"), "run", "--bundle", str(bundle), "alone"],
    }
    return [
        [
            name,
            report.spread(
                [timed(partial(run_quietly, command, dict(os.environ))) for _ in range(runs)], digits=3
            ),
        ]
        for name, command in commands.items()
    ]


# --- memory -------------------------------------------------------------------------------------

# Who stays with a container while it runs, by a word of its command line.
_BESIDE = {"onggi": b"onggi.runtime.supervisor", "dockerd": b"containerd-shim"}


def _processes() -> set[str]:
    return {name for name in os.listdir("/proc") if name.isdigit()}


def _memory(engines: Sequence[Engine], before: set[str]) -> list[str]:
    """Of what came with the containers; this machine may have others."""
    new = _processes() - before
    each = [[_beside(_BESIDE[engine.name], new) / _WATCHED] for engine in engines]
    return ["supervisor, shim", *(report.spread(values, 1e6, 1) for values in each), _ratio(each)]


def _beside(word: bytes, processes: Iterable[str]) -> float:
    """Bytes of the processes that have ``word`` in their command lines, shared pages by share."""
    total = 0
    for entry in (Path("/proc", number) for number in processes):
        try:
            if word in (entry / "cmdline").read_bytes():
                total += _pss(entry)
        except OSError:
            continue  # it has ended
    return float(total)


def _pss(entry: Path) -> int:
    lines = (entry / "smaps_rollup").read_text("ascii").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))

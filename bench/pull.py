"""Pulls, from the start of the command to its exit, on a fresh ext4 each time.

Three numbers of every run, each with what came before: the pull; a ``sync -f`` of the file
system (Onggi flushes by itself, the peers do not), which makes it durable; a mount and a
``cat`` of every file. The engines alternate. Memory comes from one more run that is not
timed, since looking at a process costs it time. All ask the same docker-registry, whose
files are in the page cache.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import images, report
from bench.floor import Floor, floor_of
from bench.machine import (
    Daemon,
    MemoryWatch,
    enter_private_mounts,
    file_system,
    find,
    free_port,
    listening,
    run,
    timed,
)
from bench.systems import System, install_onggi, installed_systems

__all__ = ["add_options", "add_sizes", "chosen_sizes", "main", "prepare", "registry", "storage_source"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_REAL = ("library/nginx", "library/python:3.11")
_GENERATED = {"bench/small-files": images.write_small_files, "bench/large": images.write_large}
# USER_HZ: clock ticks a second in /proc/stat.
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Samples:
    """Seconds of each run of one engine on one image; ``cpu`` is the whole machine's, registry included."""

    pull: list[float] = field(default_factory=list)
    synced: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak_bytes: int = 0


def storage_source() -> Path | None:
    """A docker-registry storage with real images, where one is at hand."""
    named = os.environ.get("ONGGI_TEST_REGISTRY")
    path = Path(named) if named else _CHECKOUT.parent / "shared" / "registry"
    return path if path.is_dir() else None


def prepare(work: Path, sizes: images.Sizes, wanted: Sequence[str]) -> list[str]:
    """Fill ``work/storage``; gives the repositories of ``wanted`` that are there, all when it is empty."""
    source, storage = storage_source(), images.Storage(work / "storage")
    storage.directory.mkdir()
    present: list[str] = []
    if source is not None:
        images.copy_storage(source, storage.directory)
        present += [name for name in _REAL if _has(storage, name)]
    else:
        print("no real images at hand (ONGGI_TEST_REGISTRY): only generated ones\n")
    for name, write in _GENERATED.items():
        if not wanted or name in wanted:
            write(storage, name, sizes)
            present.append(name)
    if wanted:
        present = [name for name in wanted if name in present or _has(storage, name)]
    return present


def _has(storage: images.Storage, name: str) -> bool:
    repository, _, tag = name.partition(":")
    tags = storage.directory / "docker/registry/v2/repositories" / repository / "_manifests/tags"
    return (tags / (tag or "latest")).is_dir()


@contextmanager
def registry(work: Path) -> Iterator[str]:
    """docker-registry on ``work/storage``; gives its host and port."""
    program = find("docker-registry") or find("registry")
    if program is None:
        raise SystemExit("docker-registry is not installed: run `make setup` as root")
    port = free_port()
    config = work / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{work}/storage'}}}}\n"
    )
    _into_page_cache(work / "storage")
    daemon = Daemon([program, "serve", config], work / "registry.log", lambda: listening(port))
    try:
        yield f"127.0.0.1:{port}"
    finally:
        daemon.stop()


def _into_page_cache(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            with open(path, "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


def measure(system: System, reference: str, work: Path, samples: Samples) -> None:
    """One timed run on a fresh file system."""
    with file_system(work) as disk:
        system.start(disk)
        try:
            before = _cpu_seconds()
            pull = timed(lambda: system.pull(reference))
            samples.cpu.append(_cpu_seconds() - before)
            sync = timed(lambda: run(["sync", "-f", disk]))
            samples.pull.append(pull)
            samples.synced.append(pull + sync)
            samples.read.append(pull + sync + _read_all(system, reference))
        finally:
            system.stop()


def watch_memory(system: System, reference: str, work: Path, samples: Samples) -> None:
    """One run that is looked at instead of timed."""
    with file_system(work) as disk:
        system.start(disk)
        try:
            with MemoryWatch(system.process_ids) as watch:
                system.pull(reference)
            samples.peak_bytes = watch.peak_bytes
        finally:
            system.stop()


def _read_all(system: System, reference: str) -> float:
    """Seconds to mount the image and read every file; not to unmount it."""
    start = time.monotonic()
    with system.mounted(reference) as path:
        subprocess.run(["sh", "-c", "find . -xdev -type f -exec cat {} + >/dev/null"], cwd=path, check=True)
        return time.monotonic() - start


def _cpu_seconds() -> float:
    """User, nice, system, interrupt and steal-free time of all cores since the start."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq, *_ = (int(word) for word in file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / _TICKS


def compare(systems: Sequence[System], name: str, host: str, work: Path, runs: int) -> dict[str, Samples]:
    """Every engine in turn, ``runs`` times, each round beginning with another one."""
    found = {system.name: Samples() for system in systems}
    reference = f"{host}/{name}"
    for turn in range(runs):
        order = [*systems[turn % len(systems) :], *systems[: turn % len(systems)]]
        for system in order:
            measure(system, reference, work, found[system.name])
    for system in systems:
        watch_memory(system, reference, work, found[system.name])
    return found


def _floor(name: str, work: Path) -> Floor:
    with file_system(work) as disk:
        return floor_of(work / "storage", name, disk)


def tables(name: str, floor: Floor, found: dict[str, Samples]) -> str:
    """One image's results."""
    base = found.get("dockerd", Samples())
    rows = [
        [
            system,
            *(report.spread(samples.pull), report.ratio(samples.pull, base.pull)),
            *(report.spread(samples.synced), report.ratio(samples.synced, base.synced)),
            *(report.spread(samples.read), report.ratio(samples.read, base.read)),
            report.spread(samples.cpu),
            f"{samples.peak_bytes / 1e6:.0f}",
        ]
        for system, samples in found.items()
    ]
    header = ["", "pull, s", "ratio", "+ `sync -f`, s", "ratio", "+ mount and `cat`, s", "ratio"]
    said = (
        f"{floor.compressed / 1e6:.0f} MB, {floor.uncompressed / 1e6:.0f} MB uncompressed, "
        f"{floor.members} members. Floor: {floor.wall_s:.2f} s, CPU {floor.cpu_s:.2f} s.\n"
    )
    return f"### {name}\n\n{said}\n" + report.table([*header, "CPU, s", "peak PSS, MB"], rows)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What both benchmarks ask."""
    parser.add_argument("--onggi", type=Path, help="an installed onggi; otherwise the checkout is installed")
    parser.add_argument("--work", type=Path, help="directory for everything (default: a new one in TMPDIR)")


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """How often, of what, and how large the generated images are."""
    defaults = images.Sizes()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--image", action="append", default=[], help="only these repositories")
    parser.add_argument("--files", type=int, default=defaults.files)
    parser.add_argument("--small-bytes", type=int, default=defaults.small_bytes)
    parser.add_argument("--large-bytes", type=int, default=defaults.large_bytes)


def chosen_sizes(options: argparse.Namespace) -> images.Sizes:
    """What :func:`add_sizes` has asked."""
    return images.Sizes(options.files, images.Sizes().layers, options.small_bytes, options.large_bytes)


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench pull", description=__doc__)
    add_options(parser)
    add_sizes(parser)
    parser.add_argument("--drivers", default="overlay2,erofs", help="of Onggi, separated by commas")
    parser.add_argument("--against", default="dockerd,podman", help="peers, separated by commas")
    options = parser.parse_args(words)
    enter_private_mounts()
    with tempfile.TemporaryDirectory(prefix="onggi-bench-", dir=options.work) as directory:
        work = Path(directory)
        onggi = options.onggi or install_onggi(_CHECKOUT, work)
        systems = installed_systems(onggi, work, [*options.drivers.split(","), *options.against.split(",")])
        names = prepare(work, chosen_sizes(options), options.image)
        print(f"Medians of {options.runs} (least–most); ratios are to dockerd.\n\n{report.machine()}")
        with registry(work) as host:
            for name in names:
                floor = _floor(name, work)
                print(tables(name, floor, compare(systems, name, host, work, options.runs)), flush=True)

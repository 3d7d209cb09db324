"""``engine.system``: what this engine is, what it uses, whether it is well."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from onggi.engine.containers import known_containers
from onggi.engine.containers.log_drivers import log_drivers
from onggi.engine.core import Core
from onggi.engine.doctor import Finding, examine
from onggi.engine.image import Image
from onggi.engine.networks.known import network_drivers
from onggi.oci.digest import ChainID
from onggi.oci.platform import Platform
from onggi.oci.timestamps import format_ns
from onggi.record import record
from onggi.store.atomic import read_optional
from onggi.store.dataroot import engine_id
from onggi.version import __version__

if TYPE_CHECKING:
    from onggi.config import Config
    from onggi.engine.auth import Auth
    from onggi.engine.containers.listing import ContainerRow
    from onggi.engine.filters import Filters
    from onggi.engine.images import Images
    from onggi.engine.networks.networks import Networks
    from onggi.engine.prune import SystemPruneReport
    from onggi.engine.volumes import VolumeUsage
    from onggi.store.containers import StoredContainer

__all__ = ["DiskUsage", "ImageUsage", "LayersOnDisk", "System", "SystemInfo"]

# Docker's constant: the key of Docker Hub in every credential store.
INDEX_SERVER = "https://index.docker.io/v1/"
# The Engine API whose objects we print, by compat.
_API_VERSIONS = {"28": "1.50", "20.10": "1.41"}


@record
class ImageUsage:
    """One image's part of the disk: ``shared_size`` + ``unique_size`` = its size, in bytes.

    ``shared_disk`` and ``unique_disk`` are the same in blocks on disk; 0 unless asked for.
    """

    image: Image
    shared_size: int
    unique_size: int
    containers: int
    shared_disk: int = 0
    unique_disk: int = 0


@record
class ContainerUsage:
    """One container's part of the disk: bytes that it changed."""

    row: ContainerRow
    size_bytes: int

    @property
    def active(self) -> bool:
        """Whether it runs."""
        return self.row.state in ("running", "paused", "restarting")


@record
class LayersOnDisk:
    """Blocks on disk of the layers, in bytes; every layer once, hard links once.

    ``shared``: layers of several images, ``exclusive``: of one, ``unused``: of none (``gc``
    removes those, unless a container stands on them).
    """

    shared: int
    exclusive: int
    unused: int

    @property
    def total(self) -> int:
        """What ``du`` counts over the layers' directories and their short names."""
        return self.shared + self.exclusive + self.unused


@record
class DiskUsage:
    """``layers_size``: every layer once. ``blobs_size``: received and not yet unpacked, in bytes.

    ``containers`` newest first, ``volumes`` without those that have options (they stand on
    something else). ``disk``: blocks of all layers, when asked for.
    """

    layers_size: int
    images: list[ImageUsage]
    blobs_size: int
    containers: list[ContainerUsage]
    volumes: list[VolumeUsage]
    disk: LayersOnDisk | None = None

    @property
    def reclaimable(self) -> int:
        """Docker's rule: what would go with every image no container uses."""
        used = sum(usage.image.size - usage.shared_size for usage in self.images if usage.containers)
        return self.layers_size - used


@record
class SystemInfo:
    """``docker info``: only what is true here; what does not exist yet is absent."""

    fields: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Docker's field names, in Docker's order."""
        return dict(self.fields)

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


class System:
    """Information, disk usage, health, recovery."""

    def __init__(
        self,
        core: Core,
        auth: Callable[[], Auth],
        images: Callable[[], Images],
        networks: Callable[[], Networks],
    ) -> None:
        self._core = core
        self._auth = auth
        self._images = images
        self._networks = networks

    def info(self) -> SystemInfo:
        """Facts about the engine, its store and its host."""
        core, config = self._core, self._core.config
        containers = list(known_containers(core.layout))
        running = sum(container.running for container in containers)
        release = _os_release()
        fields: dict[str, Any] = {
            "ID": engine_id(core.layout.root),
            "Containers": len(containers),
            "ContainersRunning": running,
            "ContainersPaused": 0,
            "ContainersStopped": len(containers) - running,
            "Images": len(core.images.ids()),
            "Driver": core.driver.name,
            "DriverStatus": self._driver_status(),
            "Plugins": {"Network": network_drivers(), "Log": log_drivers()},
            "SystemTime": format_ns(time.time_ns()),
            "Debug": config.debug,
            "LoggingDriver": config.log_driver,
            **_runtime_facts(config),
            "KernelVersion": platform.release(),
            "OperatingSystem": release.get("PRETTY_NAME", "Linux"),
            "OSVersion": release.get("VERSION_ID"),
            "OSType": "linux",
            "Architecture": platform.machine(),
            "IndexServerAddress": INDEX_SERVER,
            "RegistryConfig": self._registry_config(),
            "NCPU": len(os.sched_getaffinity(0)),
            "MemTotal": _memory_bytes(),
            "DockerRootDir": os.path.realpath(core.layout.root),
            "HttpProxy": _mask(config.http_proxy),
            "HttpsProxy": _mask(config.https_proxy),
            "NoProxy": config.no_proxy,
            "Name": socket.gethostname(),
            "Labels": list(config.labels),
            "ExperimentalBuild": False,
            "ServerVersion": __version__,
            "Username": self._auth().username(),
            "Warnings": None,
        }
        return SystemInfo({name: value for name, value in fields.items() if value not in (None, "")})

    def _driver_status(self) -> list[list[str]]:
        """Docker's pairs for Docker's driver, the reason for the choice with our own."""
        pairs = [list(pair) for pair in self._core.driver.status()]
        return (
            pairs if self._core.driver.name == "overlay2" else [*pairs, ["Chosen", self._core.driver_reason]]
        )

    def _registry_config(self) -> dict[str, Any]:
        config = self._core.config
        mirrors = [mirror.rstrip("/") + "/" for mirror in config.registry_mirrors]
        insecure = [host for host in config.insecure_registries if "/" not in host]
        networks = [host for host in config.insecure_registries if "/" in host]
        hub = {"Name": "docker.io", "Mirrors": mirrors, "Secure": True, "Official": True}
        others = {
            host: {"Name": host, "Mirrors": [], "Secure": False, "Official": False} for host in insecure
        }
        loopback = ["::1/128", "127.0.0.0/8"] if config.compat == "28" else ["127.0.0.0/8"]
        return {
            "InsecureRegistryCIDRs": [*networks, *loopback],
            "IndexConfigs": dict(sorted({"docker.io": hub, **others}.items())),
            "Mirrors": mirrors,
        }

    def version(self) -> dict[str, Any]:
        """``docker version``'s server object; there is one program, so it is the client's too."""
        return {
            "Version": __version__,
            "ApiVersion": _API_VERSIONS[self._core.config.compat],
            "Os": "linux",
            "Arch": Platform.host().architecture,
            "KernelVersion": platform.release(),
            "PythonVersion": platform.python_version(),
            "PythonImplementation": platform.python_implementation(),
        }

    def df(self, *, disk: bool = False) -> DiskUsage:
        """Disk usage; every layer counts once. ``disk``: in blocks too, which reads all directories."""
        images = [Image(self._core, image_id, config) for image_id, config in self._core.images.images()]
        records = list(self._core.layers.db.records())
        sizes = {record.chain_id: record.size for record in records}
        usage = self._core.driver.usage
        blocks = {record.chain_id: usage(record.cache_id) for record in records} if disk else {}
        users = Counter(chain for image in images for chain in set(image.config.chain_ids))
        used_by = Counter(container.image_id for container in known_containers(self._core.layout))
        usages = []
        for image in images:
            chains = set(image.config.chain_ids)
            shared = [chain for chain in chains if users[chain] > 1]
            unique = [chain for chain in chains if users[chain] == 1]
            parts = (_sum(of, which) for of in (sizes, blocks) for which in (shared, unique))
            shared_size, unique_size, shared_disk, unique_disk = parts
            usages.append(
                ImageUsage(image, shared_size, unique_size, used_by[image.id], shared_disk, unique_disk)
            )
        usages.sort(key=lambda usage: usage.image.created_at or float("-inf"), reverse=True)
        on_disk = _on_disk(blocks, users) if disk else None
        return DiskUsage(
            _sum(sizes, users), usages, self._blobs_size(), self._containers(), self._volumes(), on_disk
        )

    def _containers(self) -> list[ContainerUsage]:
        from onggi.engine.containers.listing import list_rows
        from onggi.engine.containers.names import ContainerNotFound
        from onggi.engine.containers.sizes import container_sizes

        def resolve(name: str) -> StoredContainer:
            raise ContainerNotFound(name)  # no filter names one

        rows = list_rows(self._core, self._core.containers.all(), all=True, resolve=resolve)
        return [ContainerUsage(row, container_sizes(self._core, row.stored)[0]) for row in rows]

    def _volumes(self) -> list[VolumeUsage]:
        from onggi.engine.volumes import Volumes

        return Volumes(self._core).usage()

    def prune(
        self,
        *,
        keep_bytes: int | None = None,
        until_s: float | None = None,
        all: bool = False,
        volumes: bool = False,
        filters: Filters | None = None,
    ) -> SystemPruneReport:
        """Remove leftovers, unused networks and dangling images (``all``: every image no container uses).

        ``volumes``: also those that nobody named and no container has.

        With ``until_s`` (seconds) images unused for that long go instead, with ``keep_bytes``
        least recently used ones until the data root is that small; never pinned, mounted or
        used ones. ``filters`` (label, label!, until) narrow down which images.
        """
        from onggi.engine.prune import system_prune

        return system_prune(
            self._core,
            self._images(),
            self._networks(),
            keep_bytes=keep_bytes,
            until_s=until_s,
            all=all,
            volumes=volumes,
            filters=filters or {},
        )

    def _blobs_size(self) -> int:
        directory = self._core.layout.blobs / "sha256"
        try:
            return sum(entry.stat().st_blocks * 512 for entry in os.scandir(directory))
        except (FileNotFoundError, PermissionError):
            return 0

    def doctor(self) -> list[Finding]:
        """What is well and what is not, each with the way out; changes nothing."""
        return examine(self._core)

    def recover(self) -> int:
        """Clear what killed processes left; every changing verb does it too. Returns how many things."""
        with self._core.writing():
            return self._core.recover()


def _runtime_facts(config: Config) -> dict[str, Any]:
    """What containers run by; only programs that are here."""
    from onggi.engine.containers.defaults import host_facts
    from onggi.runtime.runc import find_program

    host = host_facts(config)
    programs = {name: (name, ()) for name in (config.default_runtime, *_RUNTIMES)} | dict(config.runtimes)
    found = {
        name: {"path": path, **({"runtimeArgs": list(arguments)} if arguments else {})}
        for name, (path, arguments) in sorted(programs.items())
        if find_program(path) is not None
    }
    return {
        "CgroupDriver": "systemd" if host.systemd else "cgroupfs",
        "CgroupVersion": host.cgroups.removeprefix("v"),
        "Runtimes": found,
        "DefaultRuntime": config.default_runtime,
    }


_RUNTIMES = ("runc", "crun", "youki")


def _sum(sizes: Mapping[ChainID, int], chains: Iterable[ChainID]) -> int:
    return sum(sizes.get(chain, 0) for chain in chains)


def _on_disk(blocks: Mapping[ChainID, int], users: Counter[ChainID]) -> LayersOnDisk:
    shared = _sum(blocks, [chain for chain in blocks if users[chain] > 1])
    exclusive = _sum(blocks, [chain for chain in blocks if users[chain] == 1])
    return LayersOnDisk(shared, exclusive, sum(blocks.values()) - shared - exclusive)


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _memory_bytes() -> int | None:
    for line in (read_optional("/proc/meminfo") or b"").splitlines():
        if line.startswith(b"MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _mask(url: str) -> str:
    """A proxy URL without its password (Docker shows ``xxxxx:xxxxx``)."""
    scheme, separator, rest = url.partition("://")
    credentials, at, host = rest.rpartition("@")
    return f"{scheme}{separator}xxxxx:xxxxx@{host}" if at and credentials else url

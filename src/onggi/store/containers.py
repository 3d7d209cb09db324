"""Containers as Docker keeps them: ``containers/<id>/``.

::

    R/containers/<id>/          0710
    ├── config.v2.json          0600  what it is and how it is: one line of JSON and a newline
    ├── hostconfig.json         0644  what it may do on this host
    ├── checkpoints/            0700
    ├── hostname, hosts, resolv.conf, resolv.conf.hash      0644  since its first start
    ├── mounts/                 0710  its shared memory, where others may join it
    └── <id>-json.log           0640

The two files are the whole truth; a dockerd that takes the data root over reads them, and
writes them in this shape. Keys that are not known here are kept.

A container is made under ``onggi/staging`` and renamed into place: it is there whole or not at
all. Each change reads the file anew under the lock ``container-<id>`` and replaces it.

Source: docker-engine §4.8; moby ``container/container.go``, ``container/state.go``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onggi.errors import DataLoss
from onggi.oci.go_json import dump
from onggi.record import record
from onggi.store.atomic import make_directory, read_optional, stage_file, write_file
from onggi.store.layout import Layout
from onggi.store.locks import Lease, LockDirectory

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ZERO_TIME", "ContainerStore", "CorruptContainer", "StoredContainer", "fresh_document"]

_ID = re.compile(r"[0-9a-f]{64}")
ZERO_TIME = "0001-01-01T00:00:00Z"
"""Go's time that is not set."""


class CorruptContainer(DataLoss):
    """A container's files cannot be read."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(
            f"read container {path}: {reason}",
            hint="'onggi rm -f' removes it; its files are in the directory that its mount-id names",
        )
        self.path = Path(path)


@record
class StoredContainer:
    """What the two files say, each as the object it holds."""

    document: dict[str, Any]
    host_config: dict[str, Any]

    @property
    def id(self) -> str:
        """64 digits."""
        return str(self.document["ID"])

    @property
    def name(self) -> str:
        """Without the slash that Docker puts before it."""
        return str(self.document.get("Name") or "").removeprefix("/")

    @property
    def config(self) -> dict[str, Any]:
        """Docker's Config."""
        config: dict[str, Any] = self.document["Config"]
        return config

    @property
    def state(self) -> dict[str, Any]:
        """Docker's State."""
        state: dict[str, Any] = self.document["State"]
        return state

    @property
    def auto_remove(self) -> bool:
        """True for ``--rm``."""
        return bool(self.host_config.get("AutoRemove"))


class ContainerStore:
    """The directories under ``containers/``."""

    def __init__(self, layout: Layout, locks: LockDirectory, *, compat: str = "28") -> None:
        self._root = layout.root / "containers"
        self._staging = layout.staging
        self._locks = locks
        self._compat = compat

    def path(self, id: str) -> Path:
        """A container's directory."""
        return self._root / id

    def lock_path(self, id: str) -> Path:
        """The lock of its two files: a supervisor takes it too."""
        return self._locks.path(f"container-{id}")

    # --- looking --------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Every directory that is named like a container, sorted."""
        try:
            names = os.listdir(self._root)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if _ID.fullmatch(name))

    def get(self, id: str) -> StoredContainer | None:
        """What is stored, or None when there is no such container. Raises CorruptContainer.

        A missing hostconfig.json counts as an empty one, as with dockerd.
        """
        path = f"{self._root}/{id}"  # joining Paths would be a third of a list of hundreds
        document = self._read(f"{path}/config.v2.json")
        if document is None:
            return None
        self._check(path, id, document)
        return StoredContainer(document, self._read(f"{path}/hostconfig.json") or {})

    def _read(self, path: Path | str) -> dict[str, Any] | None:
        data = read_optional(path)
        if data is None:
            return None
        try:
            document = json.loads(data)
        except ValueError as error:
            raise CorruptContainer(path, str(error)) from error
        if not isinstance(document, dict):
            raise CorruptContainer(path, "it is not a JSON object")
        return document

    def _check(self, path: str, id: str, document: dict[str, Any]) -> None:
        if document.get("ID") != id:
            raise CorruptContainer(path, f"it says that it is container {document.get('ID')!r}")
        if not isinstance(document.get("State"), dict) or not isinstance(document.get("Config"), dict):
            raise CorruptContainer(path, "State or Config is missing")

    def all(self) -> Iterator[StoredContainer]:
        """Every container that can be read; broken ones are passed over as dockerd does at start."""
        for id in self.ids():
            try:
                stored = self.get(id)
            except CorruptContainer:
                continue
            if stored is not None:
                yield stored

    def names(self) -> dict[str, str]:
        """Ids by name, of those that can be read."""
        names = {}
        for id in self.ids():
            try:
                document = self._read(f"{self._root}/{id}/config.v2.json")
            except CorruptContainer:
                continue
            if document is not None:
                names[str(document.get("Name") or "").removeprefix("/")] = id
        return names

    # --- making and changing ----------------------------------------------------------------

    def create(self, stored: StoredContainer, *, durable: bool) -> None:
        """Put a new container in place. ``durable``: it survives a power cut from here on."""
        id = stored.id
        with self._locks.acquire(f"staging-{id}", exclusive=True) as lease:
            staged = self._staging / id
            make_directory(staged, 0o710)
            make_directory(staged / "checkpoints", 0o700)
            self._stage(staged / "config.v2.json", stored.document, 0o600, durable)
            self._stage(staged / "hostconfig.json", stored.host_config, 0o644, durable)
            os.rename(staged, self.path(id))
            lease.release(remove=True)

    def _stage(self, path: Path, document: dict[str, Any], mode: int, durable: bool) -> None:
        data = self._encode(document)
        if durable:
            write_file(path, data, mode, durable_name=False)
        else:
            stage_file(path, data, mode)

    def _encode(self, document: dict[str, Any]) -> bytes:
        return dump(document, compat=self._compat) + b"\n"

    @contextmanager
    def _locked(self, id: str) -> Iterator[Lease]:
        with self._locks.acquire(f"container-{id}", exclusive=True) as lease:
            yield lease

    def update(self, id: str, change: Callable[[dict[str, Any]], None], *, durable: bool = True) -> None:
        """Change config.v2.json; a container that is gone is no error. Raises CorruptContainer."""
        path = self.path(id) / "config.v2.json"
        with self._locked(id):
            document = self._read(path)
            if document is None:
                return
            change(document)
            if durable:
                write_file(path, self._encode(document), 0o600)
                return
            temporary = path.with_name(f".tmp-{path.name}")
            stage_file(temporary, self._encode(document), 0o600)
            os.rename(temporary, path)

    def update_host_config(self, id: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change hostconfig.json; a container that is gone is no error. Raises CorruptContainer."""
        path = self.path(id) / "hostconfig.json"
        with self._locked(id):
            host_config = self._read(path)
            if host_config is not None:
                change(host_config)
                write_file(path, self._encode(host_config), 0o644)

    def write_file(self, id: str, name: str, data: bytes) -> Path:
        """One of the files that a container gets to see (hosts, …); in place, since it may be mounted."""
        path = self.path(id) / name
        stage_file(path, data, 0o644)
        return path


def fresh_document() -> dict[str, Any]:
    """config.v2.json of a container that has not run, keys in dockerd's order; to be filled in."""
    state = {
        "Running": False,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "RemovalInProgress": False,
        "Dead": False,
        "Pid": 0,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": ZERO_TIME,
        "FinishedAt": ZERO_TIME,
        "Health": None,
    }
    return {
        "StreamConfig": {},
        "State": state,
        "ID": "",
        "Created": ZERO_TIME,
        "Managed": False,
        "Path": "",
        "Args": [],
        "Config": {},
        "Image": "",
        "NetworkSettings": _fresh_network_settings(),
        "LogPath": "",
        "Name": "",
        "Driver": "",
        "OS": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "RestartCount": 0,
        "HasBeenStartedBefore": False,
        "HasBeenManuallyStopped": False,
        "MountPoints": {},
        "SecretReferences": None,
        "ConfigReferences": None,
        "AppArmorProfile": "",
        "HostnamePath": "",
        "HostsPath": "",
        "ShmPath": "",
        "ResolvConfPath": "",
        "SeccompProfile": "",
        "NoNewPrivileges": False,
        "LocalLogCacheMeta": {"HaveNotifyEnabled": False},
    }


def _fresh_network_settings() -> dict[str, Any]:
    return {
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Networks": {},
        "Service": None,
        "Ports": None,
        "SandboxKey": "",
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "IsAnonymousEndpoint": False,
        "HasSwarmEndpoint": False,
    }

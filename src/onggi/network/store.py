"""Networks on disk, and who is connected.

Docker keeps networks in ``network/files/local-kv.db``, a database of its own in Go; ours are::

    R/onggi/networks/<id>.json       0600  a network: Docker's object
    R/onggi/networks/<id>.going      0600  empty: its bridge and rules are being removed
    R/onggi/endpoints/<container>    0600  what netavark was told when the container started

An endpoint file is written before netavark is called and deleted after all was undone, both
under the lock ``networks``. It counts as long as the lock ``supervisor-<container>`` is held; who
finds one that nobody holds undoes what it says. So addresses and ports need no other record.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from onggi.errors import DataLoss
from onggi.network.model import Network
from onggi.network.netavark import Attachment
from onggi.store.atomic import make_directory, read_optional, stage_file, write_file
from onggi.store.locks import LockDirectory

__all__ = ["LOCK", "CorruptNetwork", "NetworkStore"]

LOCK = "networks"
"""Held while networks are made or removed, addresses given, netavark called."""


class CorruptNetwork(DataLoss):
    """A network's file cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"read network {path}: {reason}", hint="delete the file and make the network again")
        self.path = path


class NetworkStore:
    """The two directories under ``onggi/``."""

    def __init__(self, own: Path, locks: LockDirectory) -> None:
        self._networks = own / "networks"
        self._endpoints = own / "endpoints"
        self.locks = locks

    # --- networks -------------------------------------------------------------------------

    def all(self) -> Iterator[Network]:
        """Every network that was made, by id. Raises CorruptNetwork."""
        for name in _names(self._networks):
            if name.endswith(".json") and not name.startswith("."):
                data = read_optional(self._networks / name)
                if data is not None:
                    yield self._decoded(self._networks / name, data)

    def _decoded(self, path: Path, data: bytes) -> Network:
        try:
            return Network.from_file(json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptNetwork(path, str(error)) from error

    def write(self, network: Network) -> None:
        """Put it in place; from here on it survives a power cut."""
        make_directory(self._networks, 0o700)
        data = json.dumps(network.to_file()).encode()
        write_file(self._networks / f"{network.id}.json", data, 0o600)

    def begin_removal(self, id: str) -> None:
        """Note that its bridge and rules are being removed: a kill from here on is seen."""
        stage_file(self._going(id), b"", 0o600)

    def is_going(self, id: str) -> bool:
        """Whether who removed it was killed: rules may be left without a bridge."""
        return self._going(id).exists()

    def remove(self, id: str) -> None:
        """Forget it; one that is gone is no error."""
        (self._networks / f"{id}.json").unlink(missing_ok=True)
        self._going(id).unlink(missing_ok=True)

    def _going(self, id: str) -> Path:
        return self._networks / f"{id}.going"

    # --- who is connected -------------------------------------------------------------------

    def endpoint_path(self, container: str) -> Path:
        """Where a container's attachment is written."""
        return self._endpoints / container

    def endpoints(self) -> Iterator[Attachment]:
        """Every attachment, of containers that run or that a crash left behind."""
        for name in _names(self._endpoints):
            attachment = self.endpoint(name) if not name.startswith(".") else None
            if attachment is not None:
                yield attachment

    def endpoint(self, container: str) -> Attachment | None:
        """One container's; a file that a power cut tore says nothing that is still true."""
        data = read_optional(self._endpoints / container)
        try:
            return None if data is None else Attachment(json.loads(data))
        except ValueError:
            return None

    def connect(self, attachment: Attachment) -> None:
        """Write it, whole or not at all; not flushed: after a power cut nothing runs."""
        make_directory(self._endpoints, 0o700)
        path = self.endpoint_path(attachment.container)
        temporary = path.with_name(f".tmp-{path.name}")
        stage_file(temporary, json.dumps(attachment.document).encode(), 0o600)
        os.rename(temporary, path)

    def disconnect(self, container: str) -> None:
        """Forget it."""
        self.endpoint_path(container).unlink(missing_ok=True)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []

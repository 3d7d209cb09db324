"""A container's network, as its supervisor holds it and ends it.

The namespace lives by a descriptor; a symbolic link in the running directory leads there, for the
runtime and for who wants to enter it. What else was made (rules, the resolver's entries, the
record of addresses) is undone at the end, under the lock ``networks``, by calling netavark once
more. After a kill the next command does it (engine/networks/attaching.py).
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
from collections.abc import Callable, Mapping

from onggi.runtime.supervisor import state
from onggi.runtime.supervisor.resolver import ResolverWatch

TYPE_CHECKING = False  # typing costs half a megabyte in every supervisor
if TYPE_CHECKING:
    import socket
    from typing import Any

    from onggi.runtime.supervisor.loop import Loop

__all__ = ["NAMESPACE", "HeldNetwork", "clear_settings", "leaves_traces", "network_events", "unplugged"]

NAMESPACE = "netns"
"""The link's name in the directory of the running container."""

# struct flock: l_type, l_whence, l_start, l_len, l_pid (store/locks.py uses the same locks).
_FLOCK = struct.Struct("@hhqqi0q")
_RETRY_S = 0.005
_TEARDOWN_TRIES = 3
_NO_INTERFACE = "onggi-gone"
_EMPTY = {
    "EndpointID": "",
    "Gateway": "",
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "MacAddress": "",
}


class HeldNetwork:
    """``descriptors``: the namespace, then sockets that hold ports; ``given``: instructions' ``network``."""

    def __init__(self, given: dict[str, Any], descriptors: list[int], directory: str) -> None:
        self._given = given
        self._descriptors = descriptors
        self._carried: list[socket.socket] = []
        self._resolver: ResolverWatch | None = None
        self._path = f"/proc/{os.getpid()}/fd/{descriptors[0]}"
        os.symlink(self._path, os.path.join(directory, NAMESPACE))

    def leave(self, loop: Loop) -> None:
        """Let go, and nothing else."""
        self._watch_no_more()
        for held in self._carried:
            loop.unwatch(held.detach())
        for descriptor in self._descriptors:
            os.close(descriptor)

    def serve(self, loop: Loop) -> None:
        """Carry what arrives at the sockets that no rule of the firewall leads to the container."""
        targets = {
            tuple(each["held"]): each["target"] for each in _read(self._given["file"]).get("carried") or ()
        }
        if not targets:
            return
        import socket  # most commands read this module for two words of it

        from onggi.runtime.supervisor.userland_proxy import named, serve

        for descriptor in self._descriptors[1:]:
            held = socket.socket(fileno=descriptor)
            target = targets.get(named(held))
            if target is None:
                held.detach()
            else:
                self._carried.append(held)
                serve(loop, held, (target[0], target[1]))

    def watch_resolver(self, loop: Loop) -> None:
        """From now on, when the container is in a network with names: see that somebody answers for them."""
        resolver = self._given["resolver"]
        if resolver is not None:
            given = {**resolver, "environment": self._given["environment"]}
            self._resolver = ResolverWatch(loop, given, self._locked)
            self._resolver.begin()

    def _watch_no_more(self) -> None:
        if self._resolver is not None:
            self._resolver.stop()

    def end(self, loop: Loop, journal: state.State, done: Callable[[], None]) -> None:
        """Undo what was made, then call ``done``."""
        self._watch_no_more()
        lock = self._locked()
        if lock < 0:
            loop.after(_RETRY_S, lambda: self.end(loop, journal, done))
            return

        def undone() -> None:
            # The namespace goes before its addresses are anybody's again.
            self.leave(loop)
            _remove(self._given["file"])
            os.close(lock)
            done()

        told = _read(self._given["file"])
        for id, attributes in network_events(told):
            journal.emit_of("network", id, "disconnect", attributes)
        self._tear_down(loop, told, undone, tries=_TEARDOWN_TRIES)

    def _tear_down(
        self, loop: Loop, told: Mapping[str, Any], undone: Callable[[], None], *, tries: int
    ) -> None:
        """Only where more than the namespace has to go: that is asked of the file, which may have changed."""
        words = self._given["teardown"]
        if not leaves_traces(told):
            undone()
            return
        question = os.memfd_create("question")
        os.pwrite(question, json.dumps(unplugged(told)).encode(), 0)
        actions = [
            (os.POSIX_SPAWN_DUP2, question, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        ]
        try:
            pid = os.posix_spawn(
                words[0], [*words, self._path], self._given["environment"], file_actions=actions
            )
        except OSError:
            undone()
            return
        finally:
            os.close(question)

        def ended(status: int) -> None:
            if os.WIFSIGNALED(status) and tries > 1:
                # Somebody killed it, and what it had not undone stays.
                self._tear_down(loop, told, undone, tries=tries - 1)
            else:
                undone()

        loop.on_exit(pid, ended)

    def _locked(self) -> int:
        """The lock ``networks``, or -1 while somebody has it. Other users pass it on to nobody."""
        fd = os.open(self._given["lock"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except OSError:
            os.close(fd)
            return -1
        return fd


def network_events(told: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Id and attributes of an event of each of a container's networks, by what netavark was told."""
    container, drivers = told.get("container_id") or "", told.get("network_info") or {}
    return [
        (id, {"container": container, "name": name, "type": drivers[id]["driver"]})
        for id, name in (told.get("names") or {}).items()
    ]


def unplugged(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a teardown that leaves interfaces alone: they go with their namespace.

    So the bridge stays when its last container goes, as Docker's does.
    """
    networks = {id: {**each, "interface_name": _NO_INTERFACE} for id, each in told["networks"].items()}
    return {**told, "networks": networks}


def leaves_traces(told: Mapping[str, Any]) -> bool:
    """True when netavark made rules for ports or entries of the resolver, by what it was told.

    Bridges stay as Docker's do, and interfaces vanish with the namespace.
    """
    networks = (told.get("network_info") or {}).values()
    return bool(told.get("port_mappings")) or any(network["dns_enabled"] for network in networks)


def _read(file: str) -> dict[str, Any]:
    """An endpoint file, empty when it is gone: somebody else has undone what it said."""
    try:
        with open(file, encoding="utf-8") as stream:
            document: dict[str, Any] = json.load(stream)
    except (OSError, ValueError):
        return {}
    return document


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def clear_settings(document: dict[str, Any]) -> None:
    """NetworkSettings of config.v2.json, of a container that does not run any more; as Docker leaves them."""
    settings = document.get("NetworkSettings")
    if not isinstance(settings, dict):
        return
    settings["Ports"] = None
    for endpoint in (settings.get("Networks") or {}).values():
        if isinstance(endpoint, dict):
            endpoint.update(_EMPTY)

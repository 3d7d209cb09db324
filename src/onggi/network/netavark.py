"""netavark: what it is told, and how it is called.

``netavark --config DIR --aardvark-binary PROGRAM setup NAMESPACE`` reads one JSON object::

    { "container_id", "container_name", "port_mappings": [ … ], "dns_servers": [ … ],
      "networks":     { key: { "interface_name", "static_ips", "static_mac", "aliases" } },
      "network_info": { key: { "name", "id", "driver", "network_interface", "subnets", "options", … } } }

and ``teardown`` the same. Networks go by their id there, not by their names: the names of chains of
the firewall are made from it, and another data root, or podman, may have a network of that name.

Source: netavark ``src/network/types.rs`` (1.4), its manual page.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from onggi.errors import FailedPrecondition
from onggi.network.bridges import hold_address
from onggi.network.model import Network
from onggi.record import field, record

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "Attachment",
    "Call",
    "Endpoint",
    "Netavark",
    "NetavarkFailed",
    "NetavarkMissing",
    "RESOLVER",
    "network_info",
    "set_bridge",
]

_DIRECTORIES = (
    "/usr/lib/podman",
    "/usr/libexec/podman",
    "/usr/local/lib/podman",
    "/usr/local/libexec/podman",
)
_PATIENCE_S = 60.0
"""Seconds for one call; netavark waits for ever where an aardvark-dns that it starts is killed at once."""

_TRIES = 3
RESOLVER = "aardvark-dns"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class NetavarkMissing(FailedPrecondition):
    """There is no netavark, so there are no networks."""

    def __init__(self, program: str) -> None:
        super().__init__(
            f"{program}: not found",
            hint="install it (Debian: apt-get install netavark aardvark-dns iptables), or use --network host "
            "or none",
        )


class NetavarkFailed(FailedPrecondition):
    """netavark's own words. ``killed``: it has none, since somebody killed it over its work."""

    def __init__(self, action: str, reason: str, *, killed: bool = False) -> None:
        super().__init__(f"netavark {action}: {reason}")
        self.reason = reason
        self.killed = killed


@record
class Endpoint:
    """One container in one network: its interface, addresses, MAC address, names there."""

    network: Network
    interface: str
    addresses: Sequence[str]
    mac: str
    names: Sequence[str] = ()
    metric: int = 0

    def to_json(self) -> dict[str, Any]:
        """netavark's options for it."""
        return {
            "interface_name": self.interface,
            "static_ips": list(self.addresses),
            "static_mac": self.mac or None,
            "aliases": list(self.names),
        }


def network_info(network: Network, metric: int = 0) -> dict[str, Any]:
    """What netavark is told of a network; the lowest ``metric`` of a container's is its way out."""
    options = {"mtu": network.mtu} if network.mtu else {}
    if metric:
        options["metric"] = str(metric)
    if network.driver == "bridge":
        # As Docker's bridges: nothing is forwarded from one to the other.
        options["isolate"] = "true"
    else:
        options["mode"] = network.options.get("macvlan_mode") or "bridge"
    return {
        "name": network.id,
        "id": network.id,
        "driver": network.driver,
        "network_interface": network.interface or None,
        "subnets": [{"subnet": each.subnet, "gateway": each.router} for each in network.subnets],
        "ipv6_enabled": network.ipv6,
        "internal": network.internal,
        "dns_enabled": network.resolves,
        "ipam_options": {"driver": "host-local"},
        "options": options,
    }


@record
class Attachment:
    """All networks of one container: netavark's input."""

    document: Mapping[str, Any] = field(hash=False)

    @classmethod
    def of(
        cls,
        container: str,
        name: str,
        endpoints: Sequence[Endpoint],
        ports: Sequence[Mapping[str, Any]],
        dns_servers: Sequence[str],
        carried: Sequence[Mapping[str, Any]] = (),
    ) -> Attachment:
        """Of a container and its endpoints; ``carried`` are ports that no rule leads there."""
        return cls(
            {
                "container_id": container,
                "container_name": name,
                "port_mappings": list(ports),
                "dns_servers": list(dns_servers),
                "networks": {each.network.id: each.to_json() for each in endpoints},
                # netavark passes over what it does not know. This is for the supervisor:
                "carried": list(carried),
                # and this for the events of an end.
                "names": {each.network.id: each.network.name for each in endpoints},
                "network_info": {
                    each.network.id: network_info(each.network, each.metric) for each in endpoints
                },
            }
        )

    @property
    def container(self) -> str:
        """Its id."""
        return str(self.document["container_id"])

    @property
    def networks(self) -> Mapping[str, Mapping[str, Any]]:
        """Endpoints by network id."""
        networks: Mapping[str, Mapping[str, Any]] = self.document["networks"]
        return networks

    def metric(self, network: str) -> int:
        """Of its way out through a network."""
        return int(self.document["network_info"][network]["options"].get("metric") or 0)

    def addresses(self, network: str) -> Iterator[str]:
        """Those it has in a network."""
        yield from (self.networks.get(network) or {}).get("static_ips") or ()

    def only(self, network: str) -> Attachment:
        """The part of it that is one network's."""
        return Attachment(
            {**self.document, **{part: _only(self.document[part], network) for part in _BY_NETWORK}}
        )

    def named(self, name: str) -> Attachment:
        """The same container under another name."""
        return Attachment({**self.document, "container_name": name})

    def nameless(self) -> Attachment:
        """The same, of which the resolver is not told."""
        infos = self.document["network_info"].items()
        return Attachment(
            {**self.document, "network_info": {key: {**info, "dns_enabled": False} for key, info in infos}}
        )

    def without(self, network: str) -> Attachment:
        """The rest of it."""
        return Attachment(
            {
                **self.document,
                **{
                    part: {key: value for key, value in self.document[part].items() if key != network}
                    for part in _BY_NETWORK
                },
            }
        )

    def joined(self, other: Attachment) -> Attachment:
        """Both together; ports are this one's."""
        return Attachment(
            {
                **self.document,
                **{part: {**self.document[part], **other.document[part]} for part in _BY_NETWORK},
            }
        )


_BY_NETWORK = ("networks", "network_info", "names")


def _only(entries: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if name == key}


class Netavark:
    """The program; ``directory`` is where aardvark-dns keeps what it is told."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @staticmethod
    def find(program: str) -> str:
        """Its path, or an empty string."""
        for directory in (*_DIRECTORIES, *_PATH.split(":")):
            path = f"{directory}/{program}"
            if os.access(path, os.X_OK):
                return path
        return ""

    def command(self, action: str) -> list[str]:
        """The words of a call but for the last, the namespace's path. Raises NetavarkMissing."""
        program = self.find("netavark")
        if not program:
            raise NetavarkMissing("netavark")
        if not self.find("iptables"):
            raise NetavarkMissing("iptables")
        words = [program, "--config", str(self._directory)]
        resolver = self.find(RESOLVER)
        if resolver:
            words += ["--aardvark-binary", resolver]
        return [*words, action]

    def resolver(self) -> list[str]:
        """The words with which netavark starts its resolver; none where there is none."""
        program = self.find(RESOLVER)
        return [program, "--config", str(self.resolver_directory), "-p", "53", "run"] if program else []

    @property
    def resolver_directory(self) -> Path:
        """Where the resolver's entries are, a file a network."""
        return self._directory / RESOLVER

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the caller's: the firewall is iptables, its tools are the host's."""
        return {"PATH": _PATH, "NETAVARK_FW": "iptables", "LC_ALL": "C.UTF-8"}

    def run(self, action: str, attachment: Attachment, namespace: str) -> None:
        """``setup`` or ``teardown``. Raises NetavarkFailed, NetavarkMissing.

        A teardown that is killed is begun again, twice: what it leaves nobody would look for.
        """
        for tries_left in range(_TRIES - 1, -1, -1):
            try:
                self.begin(action, attachment, namespace).finish()
                return
            except NetavarkFailed as error:
                if action != "teardown" or not error.killed or not tries_left:
                    raise

    def begin(self, action: str, attachment: Attachment, namespace: str) -> Call:
        """The same, not waited for. Raises NetavarkMissing.

        What it starts, the resolver, lives on: so its answer comes by a file, not by a pipe whose
        end would have to be waited for.
        """
        command = [*self.command(action), namespace]
        os.makedirs(self._directory, 0o700, exist_ok=True)
        question, answer = os.memfd_create("question"), os.memfd_create("answer")
        try:
            os.pwrite(question, json.dumps(attachment.document).encode(), 0)
            actions = [
                (os.POSIX_SPAWN_DUP2, question, 0),
                (os.POSIX_SPAWN_DUP2, answer, 1),
                (os.POSIX_SPAWN_DUP2, answer, 2),
            ]
            pid = os.posix_spawn(command[0], command, self.environment, file_actions=actions)
        except BaseException:
            os.close(answer)
            raise
        finally:
            os.close(question)
        return Call(action, pid, answer)


class Call:
    """netavark at work; owns ``answer``, a file. Whoever has it waits for it."""

    def __init__(self, action: str, pid: int, answer: int) -> None:
        self._action = action
        self._pid = pid
        self._answer = answer

    def finish(self) -> None:
        """Wait for its end, once. Raises NetavarkFailed."""
        try:
            _end_when_stuck(self._pid)
            _, status = os.waitpid(self._pid, 0)
            if status:
                reason = _reason(os.pread(self._answer, 1 << 16, 0), status)
                raise NetavarkFailed(self._action, reason, killed=os.WIFSIGNALED(status))
        finally:
            os.close(self._answer)


def _end_when_stuck(pid: int) -> None:
    """Wait for a netavark; kill it, and the tool it waits for, when it does not end."""
    import select

    descriptor = os.pidfd_open(pid)
    try:
        end = select.poll()
        end.register(descriptor, select.POLLIN)
        if end.poll(_PATIENCE_S * 1000):
            return
        for each in (pid, *_children(pid)):
            _kill(each)
    finally:
        os.close(descriptor)


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    import signal

    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def set_bridge(network: Network, *, published: bool) -> None:
    """What netavark does not set of a bridge: its address, and of its ports hairpin and isolated.

    Hairpin lets a container reach itself by a published port: where the kernel shows bridged
    packets to iptables (br_netfilter), such a packet leaves by the port it came from. Isolated ports
    reach the gateway alone: Docker's ``enable_icc=false``.
    """
    hold_address(network.interface)
    wanted = {"hairpin_mode": published, "isolated": not network.icc}
    directory = f"/sys/class/net/{network.interface}/brif"
    for port in _names(directory):
        for attribute, on in wanted.items():
            if on:
                _switch_on(f"{directory}/{port}/{attribute}")


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _switch_on(path: str) -> None:
    try:
        with open(path, "w") as file:
            file.write("1")
    except FileNotFoundError:
        return  # a port that has just gone


def _reason(answer: bytes, status: int) -> str:
    """Its last line is JSON, with an error in it."""
    for line in reversed(answer.decode("utf-8", "replace").splitlines()):
        try:
            return str(json.loads(line)["error"])
        except (ValueError, KeyError, TypeError):
            continue
    text = " ".join(answer.decode("utf-8", "replace").split())
    return text or f"exit status {os.waitstatus_to_exitcode(status)}"

"""Containers with networks and volumes that are crashed: what netavark and mounts leave goes too.

Besides the command and the supervisor, netavark, iptables and aardvark-dns are killed, whichever makes
the call. Afterwards names, addresses, ports and volumes can be used again, and without containers
nothing of them is left: no interface, rule, name, address, mount or lock.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onggi.engine.containers.container import Container
from onggi.engine.networks.known import NetworkNotFound
from onggi.errors import NotFound, OnggiError
from onggi.network.model import Subnet
from tests.crash.stories_containers import GROUP, NAME, ContainerStory, Yard, is_consistent, yard
from tests.peers.processes import require, wait_until

__all__ = ["NETWORK_STORIES", "VOLUME_STORIES", "networked_yard"]

_LANE, _KEG = "lane", "keg"
_ALIAS = "pot"
_SUBNET, _FIRST = "10.91.0.0/24", "10.91.0.2"
_PORT = 8080
_PUBLISH = f"{_PORT}:80"
_SERVE = ("sh", "-c", "mkdir -p /w; echo here > /w/index.html; exec httpd -f -h /w")
_SLEEP = ("sleep", "1000")
_PASSWD = "/etc/passwd"
_TMPFS = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}


# --- what stays, whatever comes and goes ------------------------------------------------------


@contextmanager
def networked_yard(work: Path, driver: str) -> Iterator[Yard]:
    """One in which networks have been used: the default bridge and the chains of the firewall stay."""
    with yard(work, driver) as place:
        (work / "interfaces").write_text(
            "\n".join(_links() | {place.engine.networks.get("bridge").interface})
        )
        _lane(place)
        _serving(place, _LANE).remove(force=True)
        rules = _emptied(place)
        _serving(place).remove(force=True)
        (work / "rules").write_text("\n".join(rules | _emptied(place)))
        yield place


def _emptied(place: Yard) -> set[str]:
    """The firewall without containers and networks of ours."""
    for network in place.engine.networks.list():
        if not network.predefined:
            place.engine.networks.remove(network.id)
    return _firewall()


def _firewall() -> set[str]:
    """Each rule once: netavark makes one that all share twice when iptables, asked for it, is killed."""
    shown = subprocess.run([require("iptables-save")], capture_output=True, text=True, check=True).stdout
    return {line.partition(" [")[0] for line in shown.splitlines() if line[:1] in ("-", ":")}


def _networks_left(place: Yard) -> list[str]:
    """Remove networks; what of them and of those who were in them is still there."""
    try:
        rules = _emptied(place)
    except OnggiError as error:
        return [f"network rm: {type(error).__name__}: {error}"]
    known = set((place.root.parent / "rules").read_text().splitlines())
    problems = [f"rule: {rule}" for rule in sorted(rules - known)]
    places = (place.root / "onggi/endpoints", place.exec_root / "network/aardvark-dns")
    problems += [
        f"left over: {path}"
        for directory in places
        for path in directory.glob("*")
        if path.name != "aardvark.pid"
    ]
    # The kernel takes interfaces away a moment after their namespace.
    try:
        wait_until(lambda: not _interfaces(place), "", timeout_s=5)
    except AssertionError:
        problems += [f"interface: {name}" for name in _interfaces(place)]
    return problems


def _interfaces(place: Yard) -> set[str]:
    """But for those that were there before, and the default bridge."""
    return _links() - set((place.root.parent / "interfaces").read_text().splitlines())


def _links() -> set[str]:
    shown = subprocess.run([require("ip"), "-j", "link"], capture_output=True, check=True).stdout
    return {link["ifname"] for link in json.loads(shown)}


def _volumes_left(place: Yard) -> list[str]:
    """Remove volumes; what of them is still there."""
    try:
        for volume in place.engine.volumes.list():
            volume.remove()
        place.engine.gc()
    except OnggiError as error:
        return [f"volume rm: {type(error).__name__}: {error}"]
    volumes = place.root / "volumes"
    left = [path for path in volumes.iterdir() if path.name != "metadata.db"]
    left += [*place.root.glob("onggi/filling/*"), *place.root.glob("onggi/locks/volume-*")]
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    problems = [f"mounted: {point}" for point in points if point.startswith(f"{volumes}/")]
    problems += [f"noted: {name}" for name in place.engine._core.volumes.noted()]
    return problems + [f"left over: {path}" for path in left]


# --- networks ---------------------------------------------------------------------------------


def _host_config(place: Yard, network: str) -> dict[str, Any]:
    ports = {"80/tcp": [{"HostPort": str(_PORT)}]}
    return {"CgroupParent": place.group, "NetworkMode": network, "PortBindings": ports}


def _made(place: Yard, network: str = "default") -> Container:
    """The container that serves, not started yet; in the lane under an alias, too."""
    from onggi.engine.containers.create import CreateRequest

    endpoints = {network: {"Aliases": [_ALIAS]}} if network == _LANE else {}
    config = {"Image": "box", "Cmd": list(_SERVE)}
    request = CreateRequest(config, _host_config(place, network), NAME, endpoints)
    return place.engine.containers.get(place.engine.containers.create_as(request).id)


def _serving(place: Yard, network: str = "default") -> Container:
    container = _made(place, network)
    container.start()
    return container


def _lane(place: Yard) -> None:
    place.engine.networks.create(_LANE, subnets=[Subnet(_SUBNET)])


def _nothing(place: Yard) -> None:
    return


def _made_on_bridge(place: Yard) -> None:
    _made(place)


def _made_in_lane(place: Yard) -> None:
    _lane(place)
    _made(place, _LANE)


def _made_beside_lane(place: Yard) -> None:
    _lane(place)
    _made(place)


def _used_lane(place: Yard) -> None:
    """A network whose bridge is there, and which nobody is in any more."""
    _lane(place)
    _serving(place, _LANE).remove(force=True)


def _serves(network: str) -> Callable[[Yard], list[str]]:
    """The container, or another of its name, has its address and port, and is found by its alias."""

    def look(place: Yard) -> list[str]:
        problems = is_consistent(place)
        try:
            container = place.container() or _made(place, network)
            container.start()
            return problems + _reached(place, container, network)
        except OnggiError as error:
            return [*problems, f"start: {type(error).__name__}: {error}"]

    return look


def _reached(place: Yard, container: Container, network: str) -> list[str]:
    problems = []
    try:
        wait_until(_answers, "", timeout_s=5)
    except AssertionError:
        problems.append(f"nobody answers at port {_PORT}")
    endpoint = container.inspect()["NetworkSettings"]["Networks"].get(
        "bridge" if network == "default" else network, {}
    )
    subnet = place.engine.networks.get("bridge" if network == "default" else network).subnets[0]
    # The first of the network: nobody else has one, or a crash has left it taken.
    wanted = _FIRST if network == _LANE else subnet.router.rpartition(".")[0] + ".2"
    if endpoint.get("IPAddress") != wanted:
        problems.append(f"address {endpoint.get('IPAddress')}, not {wanted}")
    if network == _LANE and not _finds(container, _ALIAS):
        problems.append(f"nobody finds {_ALIAS}")
    return problems


def _answers() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{_PORT}/", timeout=2) as answer:
            return answer.read() == b"here\n"
    except OSError:
        return False


def _finds(container: Container, name: str) -> bool:
    """aardvark-dns, told of somebody else, may lose a question: it is asked again."""

    def asked() -> bool:
        said = container.exec(["timeout", "2", "nslookup", name]).communicate(timeout_s=30).stdout
        return _FIRST.encode() in said

    try:
        wait_until(asked, "", timeout_s=10)
    except AssertionError:
        return False
    return True


def _makes_network(place: Yard) -> list[str]:
    """It is there or not; then one of its name and addresses can be made, used and removed."""
    try:
        place.engine.networks.remove(_LANE)
    except NetworkNotFound:
        pass
    except OnggiError as error:
        return [f"network rm: {type(error).__name__}: {error}"]
    _lane(place)
    return _serves(_LANE)(place)


def _joins(place: Yard) -> list[str]:
    """In the lane or not, as it says; it can leave and join, and is found there at its address."""
    problems = is_consistent(place)
    container = place.container()
    if container is None:
        return ["the container is gone"]
    try:
        container.start()
        if not _in_lane(container):  # or half of it is
            place.engine.networks.connect(_LANE, NAME, aliases=[_ALIAS])
        problems += _agrees(container)
        place.engine.networks.disconnect(_LANE, NAME)
        problems += _agrees(container)
        place.engine.networks.connect(_LANE, NAME, aliases=[_ALIAS])
        problems += _agrees(container)
    except OnggiError as error:
        return [*problems, f"{type(error).__name__}: {error}"]
    return problems + ([] if _finds(container, _ALIAS) else [f"nobody finds {_ALIAS}"])


def _in_lane(container: Container) -> bool:
    return _LANE in container.inspect()["NetworkSettings"]["Networks"]


def _agrees(container: Container) -> list[str]:
    """What it is said to have is what it has: one address there, and one line of its hosts file."""
    wanted = 1 if _in_lane(container) else 0
    words = ["sh", "-c", f"ip -o -4 address | grep -c {_FIRST}; grep -c {_FIRST} /etc/hosts"]
    said = container.exec(words).communicate(timeout_s=30).stdout.split()
    return [] if said == [b"%d" % wanted] * 2 else [f"said to be in {wanted} lanes, with {said}"]


# --- volumes ----------------------------------------------------------------------------------


def _keeps(place: Yard) -> list[str]:
    """The volume has what the image has at its place."""
    return _used(place, ["grep", "-c", "", _PASSWD, "/etc/group"], b"/etc/passwd:3\n/etc/group:5\n")


def _holds(place: Yard) -> list[str]:
    """What the volume's options say is mounted in the container, once."""
    return _used(place, ["grep", "-c", " /etc tmpfs .*size=1024k", "/proc/mounts"], b"1\n")


def _used(place: Yard, words: Sequence[str], wanted: bytes) -> list[str]:
    """Start the container, or another of its name, and ask in it."""
    problems = is_consistent(place)
    try:
        container = place.container() or _made_with(place, _KEG)
        container.start()
        said = container.exec(words).communicate(timeout_s=30).stdout
        if said != wanted:
            problems.append(f"in the volume: {said!r}")
        if container.exec(["touch", "/etc/mine"]).wait() != 0:
            problems.append("nothing can be written")
        container.stop(0)
    except OnggiError as error:
        return [*problems, f"{type(error).__name__}: {error}"]
    return problems


def _tmpfs_keg(place: Yard) -> None:
    place.engine.volumes.create(_KEG, options=_TMPFS)


def _plain_keg(place: Yard) -> None:
    volume = place.engine.volumes.create(_KEG, labels={"of": "beer"})
    (volume.path / "file").write_bytes(os.urandom(1000))


def _made_with(place: Yard, volume: str) -> Container:
    config = {"CgroupParent": place.group}
    make = place.engine.containers.create
    return make("box", _SLEEP, name=NAME, volumes={"/etc": volume}, host_config=config)


def _made_with_keg(place: Yard) -> None:
    """A container with a mounted volume, not started yet."""
    _tmpfs_keg(place)
    _made_with(place, _KEG)


def _unnamed(place: Yard) -> None:
    for _ in range(2):
        (place.engine.volumes.create().path / "file").write_bytes(b"x")


def _ends_with_volume(place: Yard) -> list[str]:
    """The container goes at its end; of its own volume no more than itself is left, for a prune."""
    container = place.container()
    if container is not None:
        try:
            container.wait(timeout_s=30)
        except NotFound:
            pass
    volumes = [volume.name for volume in place.engine.volumes.list()]
    return is_consistent(place) + ([f"volumes {volumes}"] if len(volumes) > 1 else [])


def _makes_volume(place: Yard) -> list[str]:
    """There with all its options, or not there; made again it is what was asked for."""
    problems = []
    try:
        found = {volume.name: volume for volume in place.engine.volumes.list()}
        if _KEG in found and found[_KEG].options != _TMPFS:
            problems.append(f"made with {found[_KEG].options}")
        volume = place.engine.volumes.create(_KEG, options=_TMPFS)
        problems += [] if volume.options == _TMPFS else [f"options {volume.options}"]
    except OnggiError as error:
        return [*problems, f"{type(error).__name__}: {error}"]
    return problems + _holds(place)


def _removes_volume(place: Yard) -> list[str]:
    """Whole or gone; then one of its name is a new one."""
    try:
        found = {volume.name: volume for volume in place.engine.volumes.list()}
        problems = []
        if _KEG in found:
            if found[_KEG].labels != {"of": "beer"} or (found[_KEG].path / "file").stat().st_size != 1000:
                problems.append(f"half removed: {found[_KEG].labels}, {os.listdir(found[_KEG].path)}")
            found[_KEG].remove()
        fresh = place.engine.volumes.create(_KEG)
        if fresh.labels or os.listdir(fresh.path):
            problems.append(f"the new one has {fresh.labels}, {os.listdir(fresh.path)}")
    except OnggiError as error:
        return [f"{type(error).__name__}: {error}"]
    return problems + _keeps(place)


def _prunes(place: Yard) -> list[str]:
    try:
        place.engine.volumes.prune()
    except OnggiError as error:
        return [f"prune: {type(error).__name__}: {error}"]
    return [f"volume {volume.name}" for volume in place.engine.volumes.list()]


# --- stories ----------------------------------------------------------------------------------

_OPTIONS = ("-d", "--cgroup-parent", GROUP, "--name", NAME)
_START = (("start", NAME),)
_ON_BRIDGE = ("run", *_OPTIONS, "-p", _PUBLISH, "box", *_SERVE)
_IN_LANE = ("run", *_OPTIONS, "-p", _PUBLISH, "--network", _LANE, "--network-alias", _ALIAS, "box", *_SERVE)
_QUIETLY = (*_OPTIONS, "--network", "none")


def _networked(
    words: tuple[str, ...],
    prepare: Callable[[Yard], object],
    look: Callable[[Yard], list[str]],
    before: tuple[tuple[str, ...], ...] = (),
) -> ContainerStory:
    return ContainerStory(words, prepare, look, before, _networks_left)


def _with_volumes(
    words: tuple[str, ...],
    prepare: Callable[[Yard], object],
    look: Callable[[Yard], list[str]],
    before: tuple[tuple[str, ...], ...] = (),
) -> ContainerStory:
    return ContainerStory(words, prepare, look, before, _volumes_left)


_IN = ("network", "connect", "--alias", _ALIAS, _LANE, NAME)
_OUT = ("network", "disconnect", _LANE, NAME)

NETWORK_STORIES = {
    "run-on-bridge": _networked(_ON_BRIDGE, _nothing, _serves("default")),
    "run-in-lane": _networked(_IN_LANE, _lane, _serves(_LANE)),
    "stop-on-bridge": _networked(("stop", "-t", "0", NAME), _made_on_bridge, _serves("default"), _START),
    "stop-in-lane": _networked(("stop", "-t", "0", NAME), _made_in_lane, _serves(_LANE), _START),
    "restart-in-lane": _networked(("restart", "-t", "0", NAME), _made_in_lane, _serves(_LANE), _START),
    "rm-in-lane": _networked(("rm", "-f", NAME), _made_in_lane, _serves(_LANE), _START),
    "network-create": _networked(("network", "create", "--subnet", _SUBNET, _LANE), _nothing, _makes_network),
    "network-rm": _networked(("network", "rm", _LANE), _used_lane, _makes_network),
    "network-prune": _networked(("network", "prune", "-f"), _used_lane, _makes_network),
    "network-connect": _networked(_IN, _made_beside_lane, _joins, _START),
    "network-disconnect": _networked(_OUT, _made_beside_lane, _joins, (*_START, _IN)),
}
"""By name. The lane is a network with a resolver, the bridge the default one."""

VOLUME_STORIES = {
    "run-with-volume": _with_volumes(
        ("run", *_QUIETLY, "-v", f"{_KEG}:/etc", "box", *_SLEEP), _nothing, _keeps
    ),
    "run-with-mounted-volume": _with_volumes(
        ("run", *_QUIETLY, "-v", f"{_KEG}:/etc", "box", *_SLEEP), _tmpfs_keg, _holds
    ),
    "run-with-own-volume": _with_volumes(
        ("run", *_QUIETLY, "--rm", "-v", "/etc", "box", "true"), _nothing, _ends_with_volume
    ),
    "stop-with-mounted-volume": _with_volumes(("stop", "-t", "0", NAME), _made_with_keg, _holds, _START),
    "volume-create": _with_volumes(
        ("volume", "create", *(word for pair in _TMPFS.items() for word in ("-o", "=".join(pair))), _KEG),
        _nothing,
        _makes_volume,
    ),
    "volume-rm": _with_volumes(("volume", "rm", _KEG), _plain_keg, _removes_volume),
    "volume-prune": _with_volumes(("volume", "prune", "-f"), _unnamed, _prunes),
}
"""By name. The keg is a volume; mounted, it is a tmpfs."""

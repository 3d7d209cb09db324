"""Networks against dockerd's: the same commands, the same answers, the same inside of containers.

dockerd runs in a network namespace of its own, so that both can give the same addresses.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from tests.compat.explained import EXPLAINED, MOST, Explained, without_resolver, without_routes
from tests.compat.pair import Said, agrees
from tests.peers.busybox import box_layer
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("networks")]

# In this order, each on what the ones before left.
COMMANDS = """
network ls
network ls -f type=builtin -q --no-trunc
network inspect host none
network create --subnet 10.55.0.0/24 sub
network create --subnet 10.55.0.128/25 other
network create sub
network create auto
network create --internal --label a=b -o com.docker.network.driver.mtu=1400 --attachable closed
network create --ipv6 --subnet fd00:55::/64 six
network create --subnet 10.56.0.0/24 --ip-range 10.56.0.128/25 --gateway 10.56.0.254 --aux-address r=10.56.0.129 part
network create -d overlay over
network create -d nosuch over
network create host
network create bridge
network create --subnet bad over
network create --gateway 1.2.3.4 over
network create --subnet 10.57.0.0/24 --gateway 10.58.0.1 over
network create --subnet 10.57.0.0/24 --subnet 10.57.0.0/25 over
network create --scope swarm over
network create
network ls
network ls -f driver=bridge
network ls -f type=custom -f name=o
network ls -f dangling=true --format {{.Name}}
network ls -f label=a --format {{.ID}}:{{.Name}}:{{.Driver}}:{{.Scope}}:{{.IPv6}}:{{.Internal}}:{{.Labels}}
network ls -f type=x
network inspect sub auto closed six part
network inspect nosuch auto -f {{.Name}}
network create --ipam-driver default --ipam-opt a=b -o x=y --label q opted
network inspect -v opted
network prune -f --filter label=none
network rm opted
run -d --name one --network sub --network-alias web --ip 10.55.0.77 box sleep 1000
run -d --name two -p 18080:80 -p 127.0.0.1:18081:81/udp -p 18090-18091:90-91 --expose 99 box sleep 1000
run -d --name ends -p 0.0.0.0:18082:80 -p [::]:18083:83 -p [::1]:18084:81/udp -p 18085:82/udp box sleep 1000
ps -a --format {{.Names}}|{{.Ports}}
port ends
rm -f ends
run --rm --link two:alias box grep alias /etc/hosts
run -d --name far-off -e X=1 -e PATH=/bin -e Y=a=b --expose 70/udp --expose 70 --expose 72 box sleep 1000
run -d --name linking --link two:two-al --link far-off -e FAR_OFF_ENV_X=mine box sleep 1000
exec linking sh -c 'env | grep -E "^(TWO|FAR)" | sort'
rm -f linking
run --rm --name linking --link two:two-al --link far-off box sh -c 'env | grep -E "^(TWO|FAR)" | sort'
run --rm --network sub --link one:first box sh -c 'env | grep -c FIRST'
rm -f far-off
run --rm --network six --ip6 fd00:55::77 box grep fd00 /etc/hosts
run -d --name all -P --expose 4000-4001 box sleep 1000
inspect -f {{.HostConfig.PublishAllPorts}}{{len .NetworkSettings.Ports}} all
network connect --driver-opt a=b --link two:other --link-local-ip 169.254.9.9 auto all
inspect -f '{{with index .NetworkSettings.Networks "auto"}}{{.DriverOpts}} {{.Links}}{{end}}' all
network disconnect -f auto all
network connect --ip6 fd00:55::88 six all
exec all grep fd00 /etc/hosts
rm -f all
run -d --name three --network part box sleep 1000
run -d --name four --network closed -h host4 box sleep 1000
run -d --name five --network none box sleep 1000
run -d --name six --network six box sleep 1000
ps -a --format {{.Names}}|{{.Ports}}|{{.Networks}}
port two
port two 81/udp
port two 99
port two 80
exec one cat /etc/hosts
exec four cat /etc/hosts
exec two cat /etc/hosts /etc/resolv.conf
exec one cat /etc/resolv.conf
exec two ip route
exec one ip route
exec four ip route
network connect --alias foo auto one
network connect --ip 10.55.0.9 sub one
network connect auto five
network connect nosuch one
network connect auto nosuch
exec one ip route
exec one cat /etc/hosts
network inspect sub auto part
network rm sub
network rm nosuch
network rm bridge
network rm -f nosuch
network disconnect sub one
exec one cat /etc/hosts
network disconnect sub one
network disconnect host one
run --rm --ip 172.17.0.9 box true
run --rm --network auto --ip 172.18.0.9 box true
run --rm --network sub --ip 10.59.0.9 box true
run --rm --network sub --ip 10.55.0.1 box true
run --rm --network-alias x box true
run --rm --network nosuch box true
run --rm --network sub --network sub box true
run --rm --network sub --network host box true
run --rm --network name=sub,alias=x,ip=10.55.0.44 box ip route
run --rm --network name=sub,nosuch=x box true
run --rm --name busy -p 18080:80 box true
run --rm -p x:80 box true
run --rm -p 80/icmp box true
run --rm --expose 1:2 box true
run --rm --network sub --dns 1.1.1.1 --dns-search a.b --dns-option timeout:1 --add-host h:1.2.3.4 box cat /etc/hosts
run --rm --dns 1.1.1.1 --dns-search a.b --dns-option timeout:1 --add-host h:1.2.3.4 box cat /etc/resolv.conf
create --name fresh box
network connect nosuch fresh
network connect nosuch nobody
start fresh
rm fresh
create --name fresh box
network connect --alias later auto fresh
start fresh
stop -t 0 fresh
network disconnect auto fresh
network disconnect auto fresh
stop -t 0 one two three four six
network rm part closed
network prune -f
network ls
rm one two three four five six fresh
""".strip().splitlines()

# After these (but for "all", whose ports are chosen at random), when they succeed: of networks that a start did not get to dockerd notes some ids.
_INSPECTED = ("run -d", "network connect", "network disconnect", "create", "start", "stop")


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Iterator[tuple[Onggi, Daemon]]:
    directory = tmp_path_factory.mktemp("networks")
    (directory / "box.tar").write_bytes(box_layer())
    config = directory / "daemon.json"
    config.write_text(json.dumps({"compat": "20.10", "bridge": "onggi-c0"}))
    ours = Onggi(directory / "root", config)
    with Daemon(directory / "docker", directory / "d", own_network=True) as daemon:
        for engine in (ours, daemon):
            engine.run("import", "-c", 'CMD ["sh"]', str(directory / "box.tar"), "box")
        yield ours, daemon
        ours.run("rm", "-f", *ours.output("ps", "-aq").split(), check=False)


def test_the_same_commands_get_the_same_answers(both: tuple[Onggi, Daemon]) -> None:
    differences: list[str] = []
    told: list[object] = []
    for line in COMMANDS:
        mine, other = (_answer(engine, shlex.split(line)) for engine in both)
        if not _same(mine, other):
            differences.append(f"$ {line}\n  ours:   {mine}\n  docker: {other}")
        if not mine.status and line.startswith(_INSPECTED) and " all" not in line:
            shown = [_settings(engine) for engine in both]
            for mine, theirs in zip(*shown, strict=True):
                if mine != theirs and mine not in told:
                    told.append(mine)
                    differences.append(f"$ {line}\n  ours:   {mine}\n  docker: {theirs}")
    assert not differences, "\n".join(differences)


def _answer(engine: Onggi | Daemon, words: list[str]) -> Said:
    # Those that dockerd prunes come in any order.
    done = engine.run(*words, check=False)
    out = done.stdout if words[1] != "prune" else "\n".join(sorted(done.stdout.split("\n")))
    return Said(done.returncode, _plain(out), _plain(done.stderr))


def _same(ours: Said, theirs: Said) -> bool:
    return (ours.status, ours.out) == (theirs.status, theirs.out) and agrees(ours.err, theirs.err)


def _plain(text: str) -> str:
    """Without ids, times, and what is explained."""
    text = re.sub(r"\b(?=[0-9a-f]*[a-f])[0-9a-f]{12}\b", "<short>", re.sub(r"[0-9a-f]{64}", "<id>", text))
    text = re.sub(r'"Created": "[^"]*"', '"Created": "<time>"', text)
    return without_resolver(without_routes(text))


def _settings(engine: Onggi | Daemon) -> list[Any]:
    names = engine.run("ps", "-a", "--format", "{{.Names}}").stdout.split()
    inspected = json.loads(engine.run("inspect", *sorted(names)).stdout) if names else []
    return [_comparable(each) for each in inspected]


def _comparable(inspected: dict[str, Any]) -> dict[str, Any]:
    settings = inspected["NetworkSettings"]
    for field in ("SandboxID", "SandboxKey"):
        settings.pop(field)
    text = json.dumps([inspected["Name"], inspected["HostConfig"]["NetworkMode"], settings], sort_keys=True)
    found: dict[str, Any] = json.loads(re.sub(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "<id>", text))
    return found


def test_a_mac_address(both: tuple[Onggi, Daemon]) -> None:
    """The command line at hand sends it to API 1.44 only: there is no oracle, only the effect."""
    ours, _ = both
    words = ("--mac-address", "02:42:0a:37:00:63", "box", "cat", "/sys/class/net/eth0/address")
    assert ours.output("run", "--rm", *words) == "02:42:0a:37:00:63\n"


def test_few_differences_are_explained() -> None:
    assert len(EXPLAINED) <= MOST


@pytest.mark.parametrize("row", EXPLAINED, ids=lambda row: row.what)
def test_each_explained_difference_is_still_there(both: tuple[Onggi, Daemon], row: Explained) -> None:
    """And nothing else differs where it is seen."""
    seen = []
    for engine in both:
        for line in row.witness:
            done = engine.run(*shlex.split(line), check=False)
        seen.append((done.returncode, done.stdout, done.stderr))
        engine.run("network", "rm", "seen", check=False)
    (status, *ours), (other, *theirs) = seen
    place = ("out", "err").index(row.stream)
    assert ours[place] != theirs[place]
    assert row.removed(ours[place]) == row.removed(theirs[place])
    assert (status, ours[1 - place]) == (other, theirs[1 - place])

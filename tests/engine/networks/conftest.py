"""An engine with containers in networks, in the test run's own network namespace."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import onggi
from onggi.errors import OnggiError
from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.peers.busybox import box_layout
from tests.peers.processes import require, wait_until

BRIDGE = "onggi-test"
# Default bridge networks stay, with their rules: that of the engine, and of another data root.
_STAYING = ("172.29.0.0/24", "172.29.1.0/24")


@pytest.fixture(scope="session")
def stocked(tmp_path_factory) -> Iterator[onggi.Engine]:
    """Shared by all tests: each has its own containers and networks."""
    directory = tmp_path_factory.mktemp("networks")
    layout = box_layout(directory / "layout")
    (directory / "none.json").write_text("{}")
    with serving(OCILayout(layout.directory)) as url:
        engine = onggi.open(
            directory / "root",
            exec_root=directory / "run",
            registry_mirrors=(url,),
            config_file=directory / "none.json",
            bridge=BRIDGE,
            bip="172.29.0.1/24",
        )
        engine.images.pull("box")
    yield engine


def links() -> set[str]:
    """Interfaces of the host."""
    shown = subprocess.run([require("ip"), "-j", "link"], capture_output=True, check=True).stdout
    # A veth goes when the kernel has time for the namespace it led to.
    return {link["ifname"] for link in json.loads(shown) if not link["ifname"].startswith("veth")}


def rules() -> list[str]:
    """Rules of the firewall that concern one container or network."""
    shown = subprocess.run([require("iptables-save")], capture_output=True, text=True, check=True).stdout
    return sorted(
        line for line in shown.splitlines() if line.startswith("-A") and ("172." in line or "DN-" in line)
    )


def endpoints(engine: onggi.Engine) -> list[str]:
    directory = Path(engine.config.data_root) / "onggi" / "endpoints"
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@pytest.fixture
def engine(stocked: onggi.Engine) -> Iterator[onggi.Engine]:
    """Without containers, rules, interfaces and records of addresses after the test."""
    before, rules_before = links() | {BRIDGE}, rules()
    yield stocked
    for container in stocked.containers.list(all=True):
        try:
            container.remove(force=True)
        except OnggiError:
            continue
    stocked.networks.prune()
    assert endpoints(stocked) == []
    # The kernel takes interfaces away a moment after their namespace.
    wait_until(lambda: links() <= before, f"the end of {links()}")
    left = (rule for rule in rules() if rule not in rules_before)
    assert not [rule for rule in left if not any(kept in rule for kept in _STAYING)]

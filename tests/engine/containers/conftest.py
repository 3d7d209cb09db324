"""An engine with box (busybox), rich (a config that says much) and evil (an image that plays tricks)."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import onggi
from onggi.errors import OnggiError
from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.peers.busybox import box_layer, box_layout
from tests.peers.images import member, tar

RICH = {
    "Cmd": ["sh", "-c", "pwd; id -un; echo $A"],
    "Env": ["A=image"],
    "User": "user",
    "WorkingDir": "/srv/here",
    "Labels": {"kind": "rich"},
}


def _link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> Iterator[str]:
    layout = box_layout(tmp_path_factory.mktemp("shop") / "layout", rich=RICH)
    tricks = [
        _link("etc", "/host-etc"),
        _link("dev", "../../../dev"),
        _link("proc", "/"),
        _link("srv", "/out"),
    ]
    layers = [box_layer(), tar([member(".wh.etc"), member(".wh.dev"), member(".wh.proc")]), tar(tricks)]
    layout.image("library/evil:latest", layers, config={"Cmd": ["/bin/true"], "WorkingDir": "/srv/deep"})
    with serving(OCILayout(layout.directory)) as url:
        yield url


@pytest.fixture(scope="session")
def stocked(tmp_path_factory, shop: str) -> onggi.Engine:
    """Shared by all tests: each has its own containers."""
    directory = tmp_path_factory.mktemp("stocked")
    engine = onggi.open(
        directory / "root",
        exec_root=directory / "run",
        registry_mirrors=(shop,),
        config_file=_empty(directory),
        bridge="none",
    )
    for image in ("box", "rich", "evil"):
        engine.images.pull(image)
    return engine


def _empty(directory: Path) -> Path:
    path = directory / "none.json"
    path.write_text("{}")
    return path


@pytest.fixture
def engine(stocked: onggi.Engine) -> Iterator[onggi.Engine]:
    """Without containers, before and after."""
    yield stocked
    for container in stocked.containers.list(all=True):
        try:
            container.remove(force=True)
        except OnggiError:
            continue
    assert stocked.containers.list(all=True) == []

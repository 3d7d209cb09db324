"""One Onggi and one dockerd that hold the same images, for all tests of a worker that compare them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.compat.pair import Pair
from tests.peers.busybox import box_layer, box_layout
from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> Iterator[Pair]:
    """Images box, and far: the same for a machine that nobody has."""
    directory = tmp_path_factory.mktemp("pair")
    layout = box_layout(directory / "layout")
    layout.image("library/far:latest", [box_layer()], config={"Cmd": ["sh"]}, architecture="s390x")
    with serving(OCILayout(layout.directory)) as url:
        config = directory / "daemon.json"
        config.write_text(json.dumps({"registry-mirrors": [url], "compat": "20.10"}))
        ours = Onggi(directory / "root", config)
        with Daemon(directory / "docker", directory / "d", mirror=url) as theirs:
            both = Pair(ours, theirs)
            for image in ("box", "far"):
                assert [said.status for said in both.both("pull", "-q", image)] == [0, 0]
            yield both
            both.clear()

"""``run --layer N`` against an image of exactly those layers, run by dockerd: the same tree, the same result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from tests.compat.test_volumes import onggi_on
from tests.peers.busybox import box_layer, box_layout
from tests.peers.daemon import Daemon
from tests.peers.images import member, tar

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("volumes")]

CONFIG = {
    "Env": ["A=image"],
    "WorkingDir": "/w",
    "Cmd": ["sh", "-c", "pwd; echo $A"],
    "Volumes": {"/data": {}},
}
# What changes by itself is left out: device numbers, the kernel's file systems, files of the engine.
LOOK = (
    "cd /; find . -xdev ! -path './etc/host*' ! -path './etc/resolv*' ! -path './proc/*' ! -path './sys/*' "
    "-exec stat -c '%n %F %a %u %g %s' {} + | grep -v ' directory ' | sort; cat /f /w/g 2>&1; pwd; echo $A"
)


def test_the_same_as_an_image_of_these_layers(tmp_path: Path) -> None:
    layers = [
        box_layer(),
        tar([member("f", b"second"), member("w", None), member("w/g", b"2"), member("data", None)]),
        tar([member(".wh.f"), member("w/.wh..wh..opq"), member("w/g", b"third"), member("data/x", b"3")]),
        tar([member("f", b"fourth"), member(".wh.w")]),
    ]
    layout = box_layout(tmp_path / "layout")
    for count in range(1, len(layers) + 1):
        layout.image(f"library/cut:{count}", layers[:count], config=CONFIG)
    with serving(OCILayout(layout.directory)) as url:
        ours = onggi_on(tmp_path, url)
        ours.run("pull", "-q", "cut:4")
        with Daemon(tmp_path / "docker", tmp_path / "d", mirror=url) as theirs:
            for count in range(1, len(layers) + 1):
                theirs.run("pull", "-q", f"cut:{count}")
                for words in ([], ["sh", "-c", LOOK]):
                    wanted = theirs.run("run", "--rm", "--network", "none", f"cut:{count}", *words)
                    done = ours.run(
                        "run", "--rm", "--network", "none", "--layer", f"{count}", "cut:4", *words
                    )
                    assert (count, done.stdout) == (count, wanted.stdout)
                    missing = 4 - count
                    expected = (
                        f"WARNING: Starting from layer {count} of 4 of cut:4 is not recommended: what its "
                        f"{missing} upper layer{'s' * (missing > 1)} add or change is missing.\n"
                    )
                    assert done.stderr == wanted.stderr + (expected if missing else "")
        ours.run("create", "--network", "none", "--name", "low", "--layer", "2", "cut:4", "cat", "/f")
        with Daemon(ours.data_root, tmp_path / "e", mirror=url) as taker:
            assert taker.output("start", "-a", "low") == "second"
            assert json.loads(taker.output("inspect", "low"))[0]["Config"]["Image"] == "cut:4"
        assert ours.output("start", "-a", "low") == "second"

"""A store of a user without any right: what needs no mount works, with true owners; the rest says why."""

from __future__ import annotations

import json
import os
import stat
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.archive.erofs.reader import Index
from onggi.drivers.erofs import Erofs
from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from onggi.linux.mount import unmount
from onggi.oci.digest import CacheID, DiffID
from onggi.store.layout import Layout as RootLayout
from tests.peers.images import Layout, member, tar
from tests.peers.unprivileged import NOBODY, Nobody, nobody
from tests.tree.cases import CASES

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
BASE = tar(
    [
        member("bin/", None),
        member("bin/su", b"#!", mode=0o4755),
        member(
            "bin/ping",
            b"#!",
            pax_headers={"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")},
        ),
        member("dev/null", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        member("home/u", b"u", uid=1000, gid=1001, mode=0o600),
    ]
)
TOP = tar([member("home/", None), member("home/.wh.u"), member("home/v", b"v" * 3000)])


@pytest.fixture(scope="module")
def user(tmp_path_factory) -> Iterator[Nobody]:
    layout = Layout(tmp_path_factory.mktemp("shop") / "layout")
    layout.image("library/rights:latest", [BASE, TOP])
    layout.image("library/acl:latest", [CASES["default ACL"]])
    with serving(OCILayout(layout.directory)) as url, nobody(f'{{"registry-mirrors": ["{url}"]}}') as made:
        made.run("pull", "rights")
        yield made


def layer(user: Nobody, number: int) -> Path:
    """The directory of a layer of ``rights``; 0 is the base."""
    inspected = json.loads(user.output("inspect", "rights"))[0]
    diff = DiffID(inspected["RootFS"]["Layers"][number])
    for entry in (user.data_root / "image/erofs/layerdb/sha256").iterdir():
        if (entry / "diff").read_text() == diff:
            return user.data_root / "erofs" / (entry / "cache-id").read_text()
    raise AssertionError(f"no layer {diff}")


def test_the_layers_are_whole(user):
    for number, data in enumerate((BASE, TOP)):
        assert (layer(user, number) / "layer.tar").read_bytes() == data
    index = Index((layer(user, 0) / "layer.erofs").read_bytes())
    found = {path: index.lookup(path) for path in (b"bin/su", b"bin/ping", b"dev/null", b"home/u")}
    assert found[b"bin/su"].mode == 0o4755
    assert index.xattrs(found[b"bin/ping"]) == {b"security.capability": CAPABILITY}
    assert (found[b"dev/null"].type, found[b"dev/null"].device) == (stat.S_IFCHR, os.makedev(1, 3))
    assert (found[b"home/u"].uid, found[b"home/u"].gid, found[b"home/u"].mode) == (1000, 1001, 0o600)


def test_everything_is_the_users(user):
    owners = {path.lstat().st_uid for path in user.data_root.rglob("*")}
    assert owners == {NOBODY}


def test_looking(user):
    assert user.output("images").splitlines()[1].split()[:2] == ["rights", "latest"]
    assert len(user.output("history", "rights").splitlines()) == 3
    assert "2 layers" in user.output("layers", "rights")
    graph = json.loads(user.output("inspect", "rights"))[0]["GraphDriver"]
    assert graph["Name"] == "erofs"
    assert graph["Data"]["Tar"] == str(layer(user, 1) / "layer.tar")
    assert "erofs" in user.output("info")
    assert user.output("system", "df").startswith("TYPE")


def test_doctor_says_what_is_missing_for_more(user):
    lines = user.output("doctor").splitlines()
    assert [line for line in lines if line.startswith("✗")] == []
    (missing,) = (line for line in lines if line.startswith("!"))
    assert "layers cannot be mounted: mounting needs root" in missing
    assert any("erofs works here (" in line for line in lines)


def test_mounting_is_refused(user):
    done = user.run("image", "mount", "rights", check=False)
    assert done.returncode == 1
    assert "mounting needs root" in done.stderr
    assert list((user.data_root / "onggi/mounts").iterdir()) == []


def test_looking_into_the_image(user):
    listed = user.output("image", "files", "-R", "rights")
    assert "-rwsr-xr-x" in next(line for line in listed.splitlines() if line.endswith("/bin/su"))
    assert "/home/u" not in listed
    assert "1,3" in next(line for line in listed.splitlines() if line.endswith("/dev/null"))
    assert user.output("image", "cat", "rights", "/home/v") == "v" * 3000
    assert "file, 3000 bytes, wins" in user.output("explain", "rights:/home/v")
    assert "layer 2 deletes it" in user.output("explain", "rights:/home/u")
    (share, *_) = json.loads(user.output("layers", "--wasted", "--json", "rights"))["Layers"]
    assert share["WastedBytes"] == 1
    directories = user.output("layers", "--format", "{{.Directory}}", "rights").split()
    assert directories == [str(layer(user, 1)), str(layer(user, 0))]


def test_looking_into_a_layer(user):
    listed = user.output("layer", "ls", "rights#1")
    assert "1000/1001" in next(line for line in listed.splitlines() if line.endswith("home/u"))
    assert user.output("layer", "cat", "rights#1", "home/u") == "u"
    assert "(deletes /home/u)" in user.output("layer", "ls", "rights#2")
    assert user.output("layer", "diff", "rights#2") == "C /home\nD /home/u\nA /home/v\n"
    assert user.output("layer", "diff", "rights#2", "rights#1") == "C /home\nA /home/u\nD /home/v\n"


def test_copying_out(user):
    user.run("image", "cp", "rights:/bin", str(user.home))
    copied = (user.home / "bin/su").stat()
    assert (copied.st_uid, copied.st_mode) == (NOBODY, 0o104755)
    assert (user.home / "bin/ping").read_text() == "#!"
    done = user.run("image", "cp", "rights:/dev", str(user.home), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: copy /dev/null: making a device needs root (")
    listed = user.run("image", "cp", "rights:/", "-").stdout
    assert "SCHILY.xattr.security.capability" in listed


def test_saving(user):
    target = user.home / "rights.tar"
    user.run("save", "-o", str(target), "rights")
    with tarfile.open(target) as archive:
        contents = {
            name: archive.extractfile(name).read()
            for name in archive.getnames()
            if "blobs" in name and archive.getmember(name).isfile()
        }
    assert {BASE, TOP} <= set(contents.values())


def test_contents_on_blocks(user):
    """The other form of a layer, from pull to repair, in a root of its own."""
    root = user.home / "aligned"
    words = ("--data-root", str(root), "--storage-opt", "erofs.block-size=4096")
    user.run(*words, "pull", "rights")
    kept = sorted(root.glob("erofs/*/layer.data"))
    assert len(kept) == 2 and not list(root.glob("erofs/*/layer.tar"))
    assert {path.lstat().st_uid for path in root.rglob("*")} == {NOBODY}
    for command in (
        ("image", "files", "-R", "rights"),
        ("image", "cat", "rights", "/home/v"),
        ("layer", "ls", "rights#1"),
        ("layer", "cat", "rights#1", "home/u"),
        ("layer", "diff", "rights#2"),
        ("image", "cp", "rights:/", "-"),
        ("save", "rights"),
    ):
        assert user.output(*words, *command) == user.output(*command), command
    (kept[0].parent / "layer.erofs").unlink()
    assert "erofs/layer.erofs" in user.output(*words, "repair", "rights")
    kept[1].chmod(0o600)
    kept[1].write_bytes(b"x" * 4096)
    assert user.run(*words, "verify", "rights", check=False).returncode == 1
    user.run(*words, "repair", "rights")
    assert user.run(*words, "verify", "rights").returncode == 0
    refused = user.run(*words, "--storage-opt", "erofs.block-size=1", "images", check=False)
    assert "erofs.block-size=1: it is 512 or 4096" in refused.stderr


def test_what_must_be_unpacked_is_refused(user):
    done = user.run("pull", "acl", check=False)
    assert done.returncode == 1
    assert "it must be unpacked, which needs root" in done.stderr
    assert list((user.data_root / "onggi/staging").iterdir()) == []


def test_overlay2_is_refused(user):
    root = user.home / "other"
    done = user.run("--data-root", str(root), "--storage-driver", "overlay2", "pull", "rights", check=False)
    assert "storage driver overlay2 needs root" in done.stderr
    assert "erofs" in done.stderr


def test_a_root_of_somebody_else(user):
    done = user.run("--data-root", "/var/lib/onggi-of-root", "pull", "rights", check=False)
    assert done.returncode == 1
    assert "permission denied" in done.stderr


def test_removing(user):
    user.run("tag", "rights", "other")
    user.run("rmi", "rights")
    user.run("rmi", "other")
    assert list((user.data_root / "erofs").iterdir()) == []
    assert user.output("gc").endswith("Total reclaimed space: 0B\n")
    user.run("pull", "rights")


def test_root_mounts_what_a_user_has_kept(user, tmp_path):
    driver = Erofs(RootLayout(user.data_root, "erofs").driver_home, tmp_path / "run")
    point = tmp_path / "mounted"
    point.mkdir()
    driver.mount(CacheID(layer(user, 1).name), point)
    try:
        assert (point / "home/v").read_bytes() == b"v" * 3000
        assert not (point / "home/u").exists()
        assert (point / "bin/su").stat().st_mode == 0o104755
        assert os.getxattr(point / "bin/ping", "security.capability") == CAPABILITY
    finally:
        unmount(point)
        driver.release_mounts(set)

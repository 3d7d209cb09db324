from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import onggi as library
from tests.peers.fixtures import Onggi
from tests.tree.stacks import seen_by_kernel


def test_files(insides: Onggi) -> None:
    names = [line.split()[-1] for line in insides.output("image", "files", "odd", "opaque").splitlines()]
    assert names == ["/opaque/new"]
    assert insides.output("image", "files", "odd").count("\n") == 16
    found = json.loads(insides.output("image", "files", "-R", "--json", "odd"))
    with library.open(data_root=insides.data_root) as engine, engine.images.get("odd").mount() as root:
        assert {item["Path"] for item in found if "\\" not in item["Path"]} == {
            "/" + name for name in seen_by_kernel(root) if name.isprintable()
        } | {"/"}
    assert {item["Path"]: item["Layer"] for item in found}["/d/setuid"] == 1


def test_cat_follows_links_inside(insides: Onggi) -> None:
    assert insides.output("image", "cat", "odd", "/d/setuid") == "s"
    for path, message in (
        ("/sym", "Could not find the file /sym in image odd:latest ("),
        ("gone", "Could not find the file /gone in image odd:latest ("),
        ("d", "odd:latest:/d: is a directory ("),
        ("null", "odd:latest:/null: not a regular file ("),
    ):
        done = insides.run("image", "cat", "odd", path, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"Error: {message}")


def test_cp_by_the_rules_of_docker(insides: Onggi, tmp_path: Path) -> None:
    copy = insides.run
    copy("image", "cp", "odd:/d/setuid", str(tmp_path / "new"))
    assert (tmp_path / "new").read_text() == "s"
    (tmp_path / "dir").mkdir()
    copy("image", "cp", "odd:/d/setuid", str(tmp_path / "dir"))
    copy("image", "cp", "odd:/opaque", str(tmp_path / "dir"))
    copy("image", "cp", "odd:/opaque/.", str(tmp_path / "dir"))
    copy("image", "cp", "odd:/opaque", str(tmp_path / "made"))
    copy("image", "cp", "odd:/opaque/new", str(tmp_path / "new"))
    copy("image", "cp", "odd:/sym", str(tmp_path / "dir"))
    assert sorted(os.listdir(tmp_path / "dir")) == ["new", "opaque", "setuid", "sym"]
    assert os.listdir(tmp_path / "dir" / "opaque") == os.listdir(tmp_path / "made") == ["new"]
    assert (tmp_path / "new").read_text() == "n"
    assert os.readlink(tmp_path / "dir/sym") == "../../etc/passwd"
    status = (tmp_path / "dir/setuid").stat()
    assert (status.st_uid, status.st_mode & 0o7777, status.st_mtime) == (os.geteuid(), 0o4755, 1_700_000_000)
    copy("image", "cp", "-a", "odd:/d/setuid", str(tmp_path / "owned"))
    assert ((tmp_path / "owned").stat().st_uid, (tmp_path / "owned").stat().st_gid) == (12, 34)


def test_cp_keeps_everything_of_a_tree(insides: Onggi, tmp_path: Path) -> None:
    insides.run("image", "cp", "-a", "odd:/", str(tmp_path / "all"))
    with library.open(data_root=insides.data_root) as engine, engine.images.get("odd").mount() as root:
        assert seen_by_kernel(tmp_path / "all") == seen_by_kernel(root)
        assert os.getxattr(tmp_path / "all/caps", "security.capability") == os.getxattr(
            root / "caps", "security.capability"
        )
    assert (tmp_path / "all/link").stat().st_ino == (tmp_path / "all/d/setuid").stat().st_ino


def test_cp_to_standard_output(insides: Onggi) -> None:
    command = [sys.executable, "-m", "onggi", "--data-root", str(insides.data_root), "image", "cp"]
    data = subprocess.run([*command, "odd:/d", "-"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["d", "d/setuid", "d/sub"]
        found = archive.getmember("d/setuid")
        assert (found.uid, found.gid, found.mode, found.mtime) == (12, 34, 0o4755, 1_700_000_000)
        assert archive.extractfile(found).read() == b"s"
    data = subprocess.run([*command, "odd:/d/.", "-"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == [".", "./setuid", "./sub"]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("odd:/nope", "x", "Could not find the file /nope in image odd:latest"),
        ("odd:/d", "file", "copy to file: cannot copy directory"),
        ("odd:/d/setuid", "no/such", "copy to no/such: the destination directory must exist"),
        ("odd:/d/setuid", "nodir/", "copy to nodir/: the destination directory must exist"),
        ("odd:/sym", "tree", 'cannot overwrite directory "/sym" with non-directory "/sym"'),
        ("odd:/d", "tree", 'cannot overwrite non-directory "/d" with directory "/d"'),
        ("nothing", "x", "copy nothing: no path of an image"),
        ("none:/x", "x", "No such image: none:latest"),
    ],
)
def test_cp_refuses(
    insides: Onggi,
    tmp_path: Path,
    monkeypatch,
    source: str,
    target: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "tree" / "sym").mkdir(parents=True)
    (tmp_path / "tree" / "d").symlink_to(tmp_path)
    done = insides.run("image", "cp", source, target, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {message}")
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(os.listdir(tmp_path)) == ["file", "tree"]


def test_explain_a_path(insides: Onggi) -> None:
    (found,) = json.loads(insides.output("explain", "--json", "odd:/d/sub/deep"))
    assert found["Title"] == "not in the image: layer 2 deletes it"
    assert found["Facts"]["layer 2"] == "whiteout, deletes it from the layers below  [step 1]"
    assert found["Facts"]["layer 1"] == "file, 4 bytes, hidden by layer 2  [step 0]"
    (found,) = json.loads(insides.output("explain", "--json", "odd:/opaque"))
    assert found["Facts"]["layer 2"].startswith("opaque directory, wins")
    assert found["Facts"]["layer 1"].startswith("directory, hidden by layer 2")
    (found,) = json.loads(insides.output("explain", "--json", "odd:/d/setuid"))
    assert found["Facts"]["made by"] == "step 0"
    where, _, tar = found["Facts"]["file"].partition(" in ")
    if tar:
        assert where == "d/setuid"
        with tarfile.open(tar) as archive:
            assert archive.extractfile("d/setuid").read() == b"s"
    else:
        assert Path(where).read_text() == "s"
    done = insides.run("explain", "odd:/never", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Could not find the file /never in image odd:latest (none of")


def test_wasted(insides: Onggi) -> None:
    text = insides.output("layers", "--wasted", "odd")
    assert "\nWasted:      6B of 35B\n" in text
    assert "\nlayer2    2 (2B)     0         3 (6B)    6B " in text
    waste = json.loads(insides.output("layers", "--wasted", "--json", "odd"))
    assert [layer["Index"] for layer in waste["Layers"]] == [1, 2]
    assert waste["WastedBytes"] == 6
    assert waste["Paths"][0] == {"Path": "/d/sub/deep", "WastedBytes": 4, "Layers": 2}

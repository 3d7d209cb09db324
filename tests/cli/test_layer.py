from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import onggi as library
from tests.peers.fixtures import Onggi

# Of the file big in library/wide.
FILE_BYTES = 30_000_000


def test_ls_is_the_archive(insides: Onggi, tmp_path: Path) -> None:
    """The same members, owners, sizes, times and links as GNU tar reads from the layer's archive."""
    layer = json.loads(insides.output("layers", "--json", "odd"))[1]
    with library.open(data_root=insides.data_root) as engine:
        from onggi.layers.tar_stream import layer_tar

        chain = engine.images.get("odd").layers[0].chain_id
        (tmp_path / "layer.tar").write_bytes(b"".join(layer_tar(engine._core.layers, chain)))
    words = ["tar", "tv", "--numeric-owner", "-P", "-f", str(tmp_path / "layer.tar")]
    theirs = subprocess.run(words, capture_output=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    ours = insides.output("layer", "ls", layer["DiffID"])
    for mine, line in zip(ours.splitlines(), theirs.stdout.decode().splitlines(), strict=True):
        assert mine.split() == line.split()


def test_whiteouts_show_as_such(insides: Onggi) -> None:
    text = insides.output("layer", "ls", "odd#2")
    assert ".wh.gone  (deletes /gone)\n" in text
    assert "opaque/.wh..wh..opq  (hides what is below in /opaque)\n" in text
    members = json.loads(insides.output("layer", "ls", "--json", "odd", "--layer", "2"))
    assert [item["Type"] for item in members] == [
        "whiteout", "directory", "opaque", "file", "whiteout", "file",
    ]  # fmt: skip
    assert members[0]["Deletes"] == "/gone"


def test_a_layer_goes_by_every_id(insides: Onggi) -> None:
    top, _ = json.loads(insides.output("layers", "--json", "odd"))
    names = [top["DiffID"], top["ChainID"], top["CacheID"], top["Blobs"][0]["Digest"], "odd#2"]
    names += [name.removeprefix("sha256:")[:12] for name in names[:4]]
    link = Path(top["Directory"]).parent / "link"
    names += [link.read_text()] if link.exists() else []
    assert len({insides.output("layer", "ls", name) for name in names[::3]}) == 1
    with library.open(data_root=insides.data_root) as engine:
        assert {engine.layer(name).record.chain_id for name in names} == {top["ChainID"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ls", "nothing"), "No such layer: nothing ("),
        (("ls", "odd"), "No such layer: odd (odd is an image of 2 layers: say odd#1 … odd#2)"),
        (("ls", "odd#3"), "No such layer: odd#3 (odd has 2 layers, 1 is the base)"),
        (("ls", "odd#x"), "No such layer: odd#x (after # stands the number"),
        (("ls", "odd#1", "nope"), "layer odd#1: /nope: no such file in this layer ("),
        (("cat", "odd#1", "nope"), "layer odd#1: /nope: no such file in this layer ("),
        (("cat", "odd#2", "gone"), "layer odd#2: /gone: this layer deletes it ("),
        (("cat", "odd#1", "sym"), "layer odd#1: /sym: a symbolic link to ../../etc/passwd ("),
        (("cat", "odd#1", "/d/"), "layer odd#1: /d: a directory"),
    ],
)
def test_one_clear_error(insides: Onggi, words: tuple[str, ...], message: str) -> None:
    done = insides.run("layer", *words, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {message}")
    assert done.stderr.count("\n") == 1


def test_cat(insides: Onggi) -> None:
    assert insides.output("layer", "cat", "odd#1", "d/sub/deep") == "deep"
    assert insides.output("layer", "cat", "odd#1", "/link") == "s"  # a hard link to d/setuid
    assert insides.output("layer", "cat", "odd#1", "escape") == "e"  # stands there as ../escape


def test_cat_tells_a_changed_file(insides: Onggi) -> None:
    directory = Path(json.loads(insides.output("layers", "--json", "odd"))[1]["Directory"])
    tar = directory / "layer.tar"
    file, content = (tar, tar.read_bytes()) if tar.exists() else (directory / "absolute", b"a")
    # In the archive the content follows its member's header.
    at = content.index(b"/absolute\0") + 512 if tar.exists() else 0
    file.write_bytes(content[:at] + b"A" + content[at + 1 :])
    try:
        done = insides.run("layer", "cat", "odd#1", "absolute", check=False)
        assert done.returncode == 1
        assert done.stderr == 'Error: file integrity checksum failed for "/absolute"\n'
    finally:
        file.write_bytes(content)


def test_diff_in_the_words_of_docker_diff(insides: Onggi) -> None:
    expected = [
        "C /d", "C /d/sub", "D /d/sub/deep", "D /gone", "A /implied", "A /implied/parent",
        "A /implied/parent/file", "C /opaque", "D /opaque/hidden", "A /opaque/new",
    ]  # fmt: skip
    assert insides.output("layer", "diff", "odd#2").splitlines() == expected
    assert insides.output("layer", "diff", "odd#1", "odd#2").splitlines() == expected
    back = insides.output("layer", "diff", "odd#2", "odd#1").splitlines()
    assert "A /gone" in back and "D /implied" in back
    changes = json.loads(insides.output("layer", "diff", "--json", "odd#2"))
    assert [f"{change['Kind']} {change['Path']}" for change in changes] == expected
    assert insides.output("layer", "diff", "odd#1", "odd#1") == ""
    assert json.loads(insides.output("layer", "diff", "--json", "odd#1", "odd#1")) == []


_MEASURE = """
import resource, sys
from onggi.cli.main import run
status = run(sys.argv[1:])
sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
sys.exit(status)
"""


def test_memory_is_bounded(insides: Onggi) -> None:
    """8000 members, and a file of 30 MB, are listed and printed in little memory."""
    peaks = {}
    for name, words in {"ls": ["ls", "odd#1"], "many": ["ls", "wide"], "cat": ["cat", "wide", "big"]}.items():
        command = [sys.executable, "-c", _MEASURE, "--data-root", str(insides.data_root), "layer", *words]
        done = subprocess.run(command, capture_output=True, check=True)
        peaks[name] = int(done.stderr)
        if name == "cat":
            assert len(done.stdout) == FILE_BYTES
        if name == "many":
            assert done.stdout.count(b"\n") == 8_001
    assert peaks["many"] - peaks["ls"] < 8_000  # KiB
    assert peaks["cat"] - peaks["ls"] < 8_000

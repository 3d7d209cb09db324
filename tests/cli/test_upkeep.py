"""gc, system prune, image pin, tag --history and --rollback, system df -v."""

from __future__ import annotations

import json
import os
import re

import pytest

from tests.peers.fixtures import Onggi

ORPHAN = "a" * 64


def crash(onggi: Onggi) -> None:
    """A directory that no layer names."""
    path = onggi.data_root / "overlay2" / ORPHAN / "diff"
    path.mkdir(parents=True)
    (path / "file").write_bytes(b"x" * 9000)


def test_gc_tells_what_goes(full: Onggi) -> None:
    assert full.output("gc") == "Total reclaimed space: 0B\n"
    crash(full)
    line = rf"directory {ORPHAN[:12]}: no layer or container names it \(.*kB\)\n\n"
    planned = full.output("gc", "--dry-run")
    assert re.fullmatch(rf"Would delete:\n{line}Total reclaimable space: .*kB\n", planned)
    assert re.fullmatch(rf"Deleted leftovers:\n{line}Total reclaimed space: .*kB\n", full.output("gc"))


def test_gc_explains(full: Onggi) -> None:
    crash(full)
    header, *rows = full.output("gc", "--explain", "--dry-run").splitlines()
    assert header.split() == ["VERDICT", "KIND", "NAME", "SIZE", "REASON"]
    assert any(re.fullmatch(r"keep +image +\S{12} +4\.096kB +named web:v1", row) for row in rows)
    assert any(re.match(rf"remove +directory +{ORPHAN[:12]} ", row) for row in rows)
    assert rows[-1].startswith("Total reclaimable space: ")
    shown = full.output("gc", "--explain", "--format", "{{.Verdict}} {{.Kind}}", "--dry-run").splitlines()
    assert shown.count("keep layer") == 3
    document = json.loads(full.output("gc", "--json", "--dry-run"))
    (item,) = (item for item in document["Items"] if item["Kind"] == "directory")
    assert item["Path"] == str(full.data_root / "overlay2" / ORPHAN)
    assert document["SpaceReclaimed"] == item["Size"]


def test_gc_tells_what_is_in_use(full: Onggi) -> None:
    full.run("image", "mount", "web:v1")
    for path in (full.data_root / "image/overlay2/imagedb/content/sha256").iterdir():
        path.unlink()
    try:
        assert "In use, left alone:\nlayer " in full.output("gc")
    finally:
        full.run("image", "umount", "--all")


_NETWORKS = "all networks not used by at least one container"


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ([], [_NETWORKS, "all dangling images"]),
        (
            ["-a", "--volumes"],
            [
                _NETWORKS,
                "all anonymous volumes not used by at least one container",
                "all images without at least one container associated to them",
            ],
        ),
        (["--until", "24h"], ["all images that were not used for 24h"]),
        (["--keep-bytes", "1GB"], ["least recently used images, until 1GB are left"]),
    ],
)
def test_system_prune_asks(full: Onggi, words: list[str], lines: list[str]) -> None:
    lines = [*lines, "layers, directories and files that nothing refers to"]
    question = "WARNING! This will remove:\n" + "".join(f"  - {line}\n" for line in lines)
    question += "\nAre you sure you want to continue? [y/N] "
    assert full.run("system", "prune", *words, stdin="n\n").stdout == question


def test_system_prune_names_its_filters(full: Onggi) -> None:
    done = full.run("system", "prune", "--filter", "label=x", "--filter", "until=1h", stdin="\n")
    assert "\n\n  Items to be pruned will be filtered with:\n  - label=x\n  - until=1h\n\nAre" in done.stdout


def test_system_prune(full: Onggi) -> None:
    assert full.output("system", "prune", "-f") == "Total reclaimed space: 0B\n"
    crash(full)
    output = full.output("system", "prune", "-f", "--until", "30d")
    assert output.startswith(f"Deleted leftovers:\ndirectory {ORPHAN[:12]}: ")
    output = full.output("system", "prune", "-af")
    assert output.startswith("Deleted Images:\nuntagged: web:v")
    assert output.endswith("\n\nTotal reclaimed space: 5.029kB\n")
    document = json.loads(full.output("system", "prune", "-f", "--json"))
    assert document["ImagesDeleted"] == [] and document["Size"] > 0


def test_system_prune_says_when_it_cannot_get_there(full: Onggi) -> None:
    full.run("image", "pin", "web:v1")
    done = full.run("system", "prune", "-f", "--keep-bytes", "1B")
    assert "untagged: web:v2" in done.stdout and "web:v1" not in done.stdout
    assert done.stderr.startswith(f"Warning: {full.data_root} still takes ")


@pytest.mark.parametrize("text", ["", "x", "-1h", "0s", "1", "d"])
def test_a_duration_that_is_none(full: Onggi, text: str) -> None:
    done = full.run("system", "prune", "-f", "--until", text, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: invalid duration '{text}' for --until (e.g. 90m, 24h or 30d)\n"


def test_pins(full: Onggi) -> None:
    assert full.output("image", "pin", "web:v1") == "Pinned: web:v1\n"
    assert full.output("image", "pin", "--format", "{{.Repository}}:{{.Tag}} {{.Pinned}}") == "web:v1 true\n"
    assert full.output("images", "--format", "{{.Pinned}}", "web:v2") == "false\n"
    done = full.run("rmi", "web:v1", check=False)
    assert done.returncode == 1
    assert re.fullmatch(
        r'Error: conflict: unable to remove repository reference "web:v1" \(must force\) - its image '
        r"[0-9a-f]{12} is pinned \(onggi image unpin [0-9a-f]{12}, or force with -f\)\n",
        done.stderr,
    )
    assert full.output("image", "unpin", "web:v1") == "Unpinned: web:v1\n"
    assert full.run("image", "pin", "nope", check=False).stderr.startswith(
        "Error: No such image: nope:latest"
    )


def test_a_mounted_image_stays(full: Onggi) -> None:
    """Its files would go from under the mount."""
    path = full.output("image", "mount", "web:v1").strip()
    try:
        done = full.run("rmi", "web:v1", check=False)
        assert done.returncode == 1
        assert f"is mounted on {path} (onggi image unmount" in done.stderr
        full.run("image", "prune", "-a", "-f")
        assert full.output("images", "--format", "{{.Tag}}") == "v1\n"
        assert os.path.getsize(f"{path}/b") == 5000
    finally:
        full.run("image", "unmount", path)
    full.run("rmi", "web:v1")


def test_last_used(full: Onggi) -> None:
    for path in (full.data_root / "onggi/last-use").iterdir():
        os.utime(path, (0, 0))
    assert "years ago" in full.output("images", "--format", "{{.LastUsed}}", "web:v1")
    assert "years ago" in full.output("layers", "--format", "{{.LastUsed}}", "web:v1")
    assert "LAST USED" in full.output("system", "df", "-v")
    full.run("pull", "-q", "web:v1")
    assert "second" in full.output("images", "--format", "{{.LastUsed}}", "web:v1")


def test_history_and_rollback(full: Onggi) -> None:
    first, second = (full.output("images", "-q", "--no-trunc", f"web:{tag}").strip() for tag in ("v1", "v2"))
    full.run("tag", "web:v2", "web:v1")
    assert full.output("tag", "--rollback", "web:v1") == f"{first}\n"
    assert full.output("images", "-q", "--no-trunc", "web:v1") == f"{first}\n"
    header, *rows = full.output("tag", "--history", "web:v1").splitlines()
    assert re.split(r" {2,}", header) == ["WHEN", "IMAGE ID", "DIGEST", "BY"]
    assert [row.split()[-1] for row in rows] == ["rollback", "tag", "pull"]
    assert "sha256:" in rows[2]
    document = json.loads(full.output("image", "tag", "--history", "--json", "web:v1"))
    assert [change["ID"] for change in document] == [first, second, first]
    assert full.output("tag", "--history", "--format", "{{.By}}", "web:v1").split()[0] == "rollback"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["x"], "onggi: 'onggi tag' requires 2 arguments\n"),
        (["--history", "x", "y"], "onggi: 'onggi tag' requires 1 argument\n"),
        (["--history", "--rollback", "x"], "conflicting options: --history and --rollback\n"),
        (["--rollback", "never"], "Error: roll back never:latest: it meant nothing before ("),
    ],
)
def test_tag_errors(full: Onggi, words: list[str], text: str) -> None:
    done = full.run("tag", *words, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(text)


def test_df_adds_up(full: Onggi) -> None:
    disk = json.loads(full.output("system", "df", "-v", "--json"))["LayersOnDisk"]
    assert disk["Shared"] + disk["Exclusive"] + disk["Unused"] == disk["Total"]
    line = r"^Layers on disk: \S+kB = \S+kB shared \+ \S+kB exclusive$"
    assert re.search(line, full.output("system", "df", "-v"), re.M)
    assert "LayersOnDisk" not in json.loads(full.output("system", "df", "--json"))

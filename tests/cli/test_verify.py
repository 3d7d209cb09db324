"""``onggi verify``: lines, summary, JSON, exit status."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.peers.fixtures import Onggi


def layer_directory(onggi: Onggi, image: str, number: int) -> Path:
    """The files of a layer of an image; ``number`` counts from 1 at the base."""
    layers = json.loads(onggi.output("layers", "--json", image))
    return Path(next(layer["Directory"] for layer in layers if layer["Index"] == number))


def test_clean(web: Onggi) -> None:
    assert web.output("verify", "web:v1") == "1 image, 2 layers checked: nothing has changed\n"
    assert web.output("verify", "-a") == "2 images, 3 layers checked: nothing has changed\n"
    assert web.output("verify", "--fast", "web:v1", "web:v2", "web:v1").startswith("2 images, 3 layers")
    assert web.output("verify", "-q", "--all") == ""


def test_an_edit_is_named(full: Onggi) -> None:
    path = layer_directory(full, "web:v1", 1) / "b"
    before = path.stat()
    path.write_bytes(b"y" + b"x" * 4999)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    done = full.run("verify", "--all", check=False)
    cache_id = path.parent.parent.name[:12]
    line, summary = done.stdout.splitlines()
    assert line == f"web:v1 layer 1 (cache-id {cache_id}): b: content changed"
    assert summary == "2 images, 3 layers checked: 1 finding in 1 layer; 'onggi repair IMAGE' heals"
    assert (done.returncode, done.stderr) == (1, "")
    quiet = full.run("verify", "-q", "web:v2", check=False)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (1, "", "")
    fast = full.run("verify", "--fast", "web:v2", check=False)
    assert fast.stdout.splitlines()[0].endswith("b: touched after the layer was unpacked")


def test_json(full: Onggi) -> None:
    directory = layer_directory(full, "web:v1", 2)
    (directory / "f").chmod(0o600)
    (directory / "new\nline").mkdir()
    done = full.run("verify", "--json", "web:v1", check=False)
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert (document["Images"], document["Layers"], document["DamagedLayers"]) == (1, 2, 1)
    first, second = document["Findings"]
    assert (first["Image"], first["Layer"], first["Path"]) == ("web:v1", 2, "f")
    assert first["Changes"] == [{"What": "mode", "Expected": "0644", "Found": "0600"}]
    assert second["Path"] == "new\nline" and second["Changes"][0]["What"] == "added"
    assert "new\\nline: added (directory)\n" in full.run("verify", "web:v1", check=False).stdout


def test_metadata(full: Onggi) -> None:
    directory = layer_directory(full, "web:v1", 2).parent
    (directory / "link").write_text("")
    done = full.run("verify", "web:v1", check=False)
    assert f"(cache-id {directory.name[:12]}): overlay2/link: is missing, empty" in done.stdout
    image = json.loads(full.output("inspect", "web:v2"))[0]["Id"]
    config = full.data_root / "image/overlay2/imagedb/content/sha256" / image.removeprefix("sha256:")
    config.write_bytes(config.read_bytes() + b" ")
    done = full.run("verify", "web:v2", check=False)
    assert done.stdout.splitlines()[0].startswith(f"web:v2: failed to verify: {image}")


def test_names_that_cannot_be_read(full: Onggi) -> None:
    (full.data_root / "image/overlay2/repositories.json").write_text("{")
    done = full.run("verify", "--all", check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].startswith("repositories.json: read ")


def test_words_that_make_no_sense(web: Onggi) -> None:
    for words in ([], ["--all", "web:v1"]):
        done = web.run("verify", *words, check=False)
        assert done.returncode == 1 and "See 'onggi verify --help'" in done.stderr
    done = web.run("verify", "nothere", check=False)
    assert done.stderr == "Error: No such image: nothere:latest ('onggi images' lists what is here)\n"

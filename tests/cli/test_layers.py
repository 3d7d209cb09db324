from __future__ import annotations

import json
import re
from pathlib import Path

from tests.peers.fixtures import Onggi


def test_every_id_of_every_layer(web: Onggi) -> None:
    top, base = json.loads(web.output("layers", "--json", "web:v1"))
    assert [top["Index"], base["Index"]] == [2, 1]
    assert [base["DiffID"], top["DiffID"]] == json.loads(web.output("inspect", "web:v1"))[0]["RootFS"][
        "Layers"
    ]
    assert top["Parent"] == base["ChainID"] == base["DiffID"]
    for layer, size, name in ((top, 22, "f"), (base, 5000, "b")):
        metadata, directory = Path(layer["Metadata"]), Path(layer["Directory"])
        assert metadata.name == layer["ChainID"].removeprefix("sha256:")
        assert (metadata / "cache-id").read_text() == layer["CacheID"]
        assert directory.parent.name == layer["CacheID"]
        assert (directory / name).stat().st_size == layer["Size"] == size
        assert layer["Blobs"][0]["Repository"] == "docker.io/library/web"
    assert base["SharedWith"] == ["web:v2"]
    assert top["SharedWith"] == []
    assert top["CreatedBy"].startswith("/bin/sh -c set -x")


def test_readable(web: Onggi) -> None:
    text = web.output("layers", "web:v1")
    assert text.startswith("web:v1\nsha256:")
    assert "\n2 layers, 5.022kB\n\nlayer2  22B  /bin/sh -c set -x && addgroup --system && echo" in text
    assert re.search(
        r"\n  blob         [0-9a-f]{12} \(docker.io/library/web\)\n  diffID       [0-9a-f]{12}\n", text
    )
    assert text.count("shared with  no other image\n") == 1
    assert text.count("shared with  web:v2\n") == 1
    assert re.search(r"\n  chainID      sha256:[0-9a-f]{64}\n", web.output("layers", "--no-trunc", "web:v1"))


def test_formats(web: Onggi) -> None:
    assert web.output("layers", "--format", "{{.Layer}} {{.Size}}", "web:v1") == "layer2 22B\nlayer1 5kB\n"
    header = web.output("layers", "--format", "table", "web:v1").splitlines()[0]
    assert re.split(" {2,}", header) == [
        "LAYER", "SIZE", "BLOB", "DIFF ID", "CHAIN ID", "CACHE ID", "CREATED BY",
    ]  # fmt: skip


def test_explain_leads_from_any_id_to_the_thing(web: Onggi) -> None:
    top, _ = json.loads(web.output("layers", "--json", "web:v1"))
    for name, kind in (("DiffID", "diffID"), ("ChainID", "chainID"), ("CacheID", "cache-id")):
        found = json.loads(web.output("explain", "--json", top[name]))
        assert kind in [item["Kind"] for item in found], name
    blob = top["Blobs"][0]["Digest"].removeprefix("sha256:")[:12]
    text = web.output("explain", blob)
    assert text.startswith("blob  sha256:")
    assert "web:v1" in text
    assert web.output("explain", "-f", "{{.Kind}}", blob) == "blob\n"
    assert web.output("explain", top["Directory"]) != ""
    done = web.run("explain", "ffffffffffff", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: explain ffffffffffff: ")

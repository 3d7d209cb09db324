"""OCI image layouts, such as containerd, skopeo and broken disks leave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onggi.errors import DataLoss
from onggi.hub.layout import BrokenLayout, OCILayout
from onggi.hub.storage import BlobUnknown, ManifestUnknown, NameUnknown
from onggi.oci.digest import Digest
from tests.peers.images import Layout, member, tar

NAME = "io.containerd.image.name"
REF = "org.opencontainers.image.ref.name"


@pytest.fixture
def written(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "my-images")


def annotate(layout: Layout, *entries: tuple[dict[str, object], dict[str, str]]) -> OCILayout:
    """index.json with these descriptors and annotations."""
    manifests = [{**descriptor, "annotations": annotations} for descriptor, annotations in entries]
    document = {"schemaVersion": 2, "manifests": manifests}
    (layout.directory / "index.json").write_text(json.dumps(document))
    return OCILayout(layout.directory)


@pytest.mark.parametrize(
    ("annotations", "repository", "tag"),
    [
        ({NAME: "docker.io/library/nginx:1.25", REF: "1.25"}, "library/nginx", "1.25"),
        ({REF: "docker.io/library/nginx:latest"}, "library/nginx", "latest"),
        ({REF: "nginx:1.25"}, "library/nginx", "1.25"),
        ({REF: "ghcr.io/a/b/c:x"}, "a/b/c", "x"),
        ({REF: "a/b"}, "a/b", "latest"),
        ({REF: "127.0.0.1:5000/a/b:x"}, "a/b", "x"),
        ({REF: "v1"}, "my-images", "v1"),
        ({NAME: "nginx"}, "library/nginx", "latest"),
    ],
)
def test_names(written: Layout, annotations: dict[str, str], repository: str, tag: str) -> None:
    layout = annotate(written, (written.manifest([tar([member("a")])]), annotations))
    assert layout.repositories() == [repository]
    assert layout.tags(repository) == [tag]


def test_a_manifest_without_a_name_is_there_by_digest(written: Layout) -> None:
    descriptor = written.manifest([tar([member("a")])])
    layout = annotate(written, (descriptor, {}))
    assert layout.tags("my-images") == []
    found = layout.manifest("my-images", Digest(descriptor["digest"]))
    assert found.digest == descriptor["digest"]
    assert OCILayout(written.directory, "team/app").repositories() == ["team/app"]


def test_members_belong_to_their_repository_only(written: Layout) -> None:
    mine, theirs = written.manifest([tar([member("a")])]), written.manifest([tar([member("b")])])
    layout = annotate(written, (mine, {REF: "team/mine:1"}), (theirs, {REF: "team/theirs:1"}))
    raw = json.loads(layout.manifest("team/mine", "1").raw)
    blob = Digest(raw["layers"][0]["digest"])
    assert layout.blob("team/mine", blob).size == raw["layers"][0]["size"]
    with pytest.raises(BlobUnknown):
        layout.blob("team/theirs", blob)
    with pytest.raises(ManifestUnknown):
        layout.manifest("team/theirs", Digest(mine["digest"]))
    with pytest.raises(NameUnknown):
        layout.tags("team/nobodys")


def test_an_index_leads_to_its_manifests_even_if_one_is_missing(written: Layout) -> None:
    here, absent = written.manifest([tar([member("a")])]), written.manifest([tar([member("b")])])
    index = written.index([(here, {"architecture": "amd64"}), (absent, {"architecture": "arm64"})])
    (written.directory / "blobs/sha256" / absent["digest"].partition(":")[2]).unlink()
    layout = annotate(written, (index, {REF: "a/b:1"}))
    assert layout.manifest("a/b", Digest(here["digest"])).raw
    with pytest.raises(ManifestUnknown):
        layout.manifest("a/b", Digest(absent["digest"]))


def test_the_later_claim_on_a_tag_counts(written: Layout) -> None:
    first, second = written.manifest([tar([member("a")])]), written.manifest([tar([member("b")])])
    layout = annotate(written, (first, {REF: "a/b:1"}), (second, {REF: "a/b:1"}))
    assert layout.manifest("a/b", "1").digest == second["digest"]
    assert layout.manifest("a/b", Digest(first["digest"])).digest == first["digest"]


def test_a_new_index_is_seen(written: Layout) -> None:
    written.image("a/b:1", [tar([member("a")])])
    layout = OCILayout(written.directory)
    assert layout.tags("a/b") == ["1"]
    written.image("a/b:2", [tar([member("b")])])
    assert layout.tags("a/b") == ["1", "2"]


def test_damage_is_told_and_never_served(written: Layout) -> None:
    damaged, emptied = written.manifest([tar([member("a")])]), written.manifest([tar([member("b")])])
    layout = annotate(written, (damaged, {REF: "a/b:damaged"}), (emptied, {REF: "a/b:emptied"}))
    files = written.directory / "blobs/sha256"
    layer = json.loads((files / emptied["digest"].partition(":")[2]).read_text())["layers"][0]["digest"]
    path = files / damaged["digest"].partition(":")[2]
    path.write_bytes(path.read_bytes().replace(b"2", b"3", 1))
    (files / layer.partition(":")[2]).write_bytes(b"")
    with pytest.raises(DataLoss, match="other bytes"):
        layout.manifest("a/b", "damaged")
    with pytest.raises(BlobUnknown):
        layout.blob("a/b", Digest(layer))
    assert layout.manifest("a/b", "emptied").raw


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("oci-layout", '{"imageLayoutVersion": "2.0.0"}'),
        ("oci-layout", "[]"),
        ("index.json", "not json"),
        ("index.json", '{"manifests": {}}'),
        ("index.json", '{"manifests": [{"digest": "sha256:../../../etc/passwd"}]}'),
        ("index.json", '{"manifests": ["text"]}'),
        ("index.json", '{"manifests": [{"digest": "%s", "annotations": {"%s": "Bad Name:x"}}]}'),
    ],
)
def test_what_is_no_layout(written: Layout, file: str, content: str) -> None:
    written.image("a/b:1", [tar([member("a")])])
    text = content % ("sha256:" + "0" * 64, REF) if "%" in content else content
    (written.directory / file).write_text(text)
    with pytest.raises(BrokenLayout) as caught:
        OCILayout(written.directory)
    assert caught.value.path == str(written.directory)
    assert "\n" not in caught.value.message


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BrokenLayout, match="oci-layout"):
        OCILayout(tmp_path)

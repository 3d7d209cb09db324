"""Several platforms of one name: which images they are, and their index at docker-registry."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onggi import Config, Engine
from onggi.errors import InvalidArgument, OnggiError
from onggi.oci.digest import Digest
from onggi.oci.manifest import Index, parse_manifest
from onggi.oci.platform import Platform
from onggi.progress import Message, ProgressEvent
from onggi.transfer.push import OtherPlatform
from onggi.transfer.push_index import _readings, _walk
from tests.peers.images import Layout, member, tar
from tests.peers.registries import Registry
from tests.peers.tools import Tool
from tests.registry.upload_site import Fault, UploadSite

PLATFORMS = ("linux/amd64", "linux/arm/v7", "linux/arm64")
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Layout:
    """library/multi for three platforms, library/nested the same with one index in another, library/more."""
    layout = Layout(tmp_path_factory.mktemp("source") / "layout")
    entries = []
    for text in PLATFORMS:
        _, architecture, *variant = text.split("/")
        platform = {"os": "linux", "architecture": architecture}
        platform |= {"variant": variant[0]} if variant else {}
        layers = [tar([member("same", b"s" * 1000)]), tar([member("platform", text.encode())])]
        descriptor = layout.manifest(layers, architecture=architecture, variant="".join(variant))
        entries.append((descriptor, platform))
    layout.name("library/multi:latest", layout.index(entries))
    arm = layout.index(entries[1:2])
    layout.name(
        "library/nested:latest", layout.index([entries[0], (arm, {"os": "linux", "architecture": "arm"})])
    )
    foreign = layout.manifest([tar([member("x", b"x")])], architecture="s390x")
    layout.name(
        "library/more:latest",
        layout.index([*entries[:2], (foreign, {"os": "linux", "architecture": "s390x"})]),
    )
    return layout


@pytest.fixture(scope="module")
def source(layout: Layout) -> Iterator[str]:
    from onggi.hub.layout import OCILayout
    from onggi.hub.server import serving

    with serving(OCILayout(layout.directory)) as url:
        yield url


@pytest.fixture
def engine(tmp_path: Path, source: str) -> Iterator[Engine]:
    with opened(tmp_path / "root", source) as engine:
        yield engine


def opened(root: Path, mirror: str = "") -> Engine:
    mirrors = (mirror,) if mirror else ()
    return Engine(Config(data_root=root, registry_mirrors=mirrors, docker_config_dir=root.parent / "docker"))


def pull(engine: Engine, name: str, platforms=PLATFORMS, **how: Any) -> dict[str, str]:
    """The image id by platform; the tag means the last one."""
    return {platform: engine.images.pull(name, platform=platform, **how).id for platform in platforms}


def stored(name: str) -> bytes:
    """The bytes of the index or manifest that the registry has under a name."""
    host, _, rest = name.partition("/")
    path, _, tag = rest.rpartition(":")
    accept = f"{LIST}, {OCI_INDEX}, {OCI_MANIFEST}, application/vnd.docker.distribution.manifest.v2+json"
    request = urllib.request.Request(f"http://{host}/v2/{path}/manifests/{tag}", headers={"Accept": accept})
    with urllib.request.urlopen(request) as answer:
        return answer.read()


@pytest.mark.parametrize("name", ["multi", "nested"])
def test_a_pulled_index_goes_as_it_came(
    engine: Engine, layout: Layout, target: str, name: str, tmp_path: Path
) -> None:
    platforms = PLATFORMS if name == "multi" else PLATFORMS[:2]
    pulled = pull(engine, name, platforms, keep_blobs=True)
    index = next(d.partition("@")[2] for image in engine.images for d in image.digests if f"{name}@" in d)
    engine.images.tag(name, target)
    events: list[ProgressEvent] = []
    pushed = engine.images.push(target, all_platforms=True, progress=events.append)
    assert (pushed.digest, pushed.image_id) == (index, engine.images.get(name).id)
    assert stored(target) == (layout.directory / "blobs/sha256" / index.partition(":")[2]).read_bytes()
    told = [event.text.partition(": ")[0] for event in events if isinstance(event, Message)]
    assert sorted(told[1:-1]) == sorted(platforms)
    assert told[-1] == "1"
    with opened(tmp_path / "other") as other:
        assert pull(other, target, platforms) == pulled


def test_layers_compressed_anew_make_an_index_anew_and_always_the_same(
    engine: Engine, registry: Registry, target: str, skopeo: Tool, tmp_path: Path
) -> None:
    pulled = pull(engine, "multi")
    engine.images.tag("multi", target)
    first = engine.images.push(target, all_platforms=True)
    log = len(registry.process.log.read_text())
    assert engine.images.push(target, all_platforms=True) == first
    sent = re.findall(r'"(POST|PATCH|PUT) (\S+)', registry.process.log.read_text()[log:])
    assert {method for method, _ in sent} == {"PUT"}
    assert all("/manifests/" in path for _, path in sent)
    document = json.loads(stored(target))
    assert document["mediaType"] == OCI_INDEX
    assert [entry["platform"] for entry in document["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm", "os": "linux", "variant": "v7"},
        {"architecture": "arm64", "os": "linux"},
    ]
    assert [each.image_id for each in first.members] == [pulled[platform] for platform in PLATFORMS]
    names = [name for each in first.members for name in engine.images.get(each.image_id).digests]
    assert {f"{target.rpartition(':')[0]}@{each.digest}" for each in first.members} <= set(names)
    skopeo.run("copy", "--all", "--src-tls-verify=false", f"docker://{target}", f"dir:{tmp_path / 'copy'}")
    assert len(list((tmp_path / "copy").glob("*.manifest.json"))) == 3
    # Under another name the index that went goes again.
    other = target.replace(":1", ":again")
    engine.images.tag(target, other)
    assert engine.images.push(other, all_platforms=True).digest == first.digest


def test_what_was_loaded_for_all_platforms_is_pushed_for_all(
    engine: Engine, layout: Layout, target: str
) -> None:
    engine.images.load(layout.directory, all_platforms=True)
    engine.images.tag("multi", target)
    pushed = engine.images.push(target, all_platforms=True)
    listed = [entry["platform"]["architecture"] for entry in json.loads(stored(target))["manifests"]]
    assert listed == ["amd64", "arm", "arm64"]
    assert len(pushed.members) == 3


def test_an_index_with_members_elsewhere_is_of_what_is_here(engine: Engine, target: str) -> None:
    pull(engine, "more", PLATFORMS[:2], keep_blobs=True)
    engine.images.tag("more", target)
    pushed = engine.images.push(target, all_platforms=True)
    listed = [entry["platform"]["architecture"] for entry in json.loads(stored(target))["manifests"]]
    assert listed == ["amd64", "arm"]
    assert len(pushed.members) == 2


def test_platforms_by_name_make_the_list_that_docker_makes(
    engine: Engine, target: str, tmp_path: Path
) -> None:
    for text, end in zip(PLATFORMS, ("amd64", "arm-v7", "arm64v8"), strict=True):
        engine.images.pull("multi", platform=text)
        engine.images.tag("multi", f"{target}-{end}")
        engine.images.push(f"{target}-{end}", oci=False)
    engine.images.tag(f"{target}-amd64", target)
    # Names that end in what their image is not for, or go on, are other versions.
    engine.images.tag(f"{target}-amd64", f"{target}-s390x")
    engine.images.tag(f"{target}-arm64v8", f"{target}-arm64-beta")
    for path in (engine.config.data_root / "onggi/manifests").rglob("*"):
        if path.is_file() and isinstance(parse_manifest(path.read_bytes()), Index):
            path.unlink()
    pushed = engine.images.push(target, all_platforms=True, oci=False)
    assert pushed.media_type == LIST
    ours = stored(target)
    (tmp_path / "home/.docker").mkdir(parents=True)
    docker = Tool(tmp_path / "home", "docker")
    theirs = target.replace(":1", ":docker")
    members = [f"{target}-{end}" for end in ("amd64", "arm-v7", "arm64v8")]
    docker.run("manifest", "create", "--insecure", theirs, *members)
    docker.run("manifest", "push", "--insecure", theirs)
    assert stored(theirs) == ours


def test_chosen_platforms(engine: Engine, target: str) -> None:
    pulled = pull(engine, "multi")
    engine.images.tag("multi", target)
    two = engine.images.push(target, platform=("linux/arm64", "linux/amd64", "linux/arm64/v8"))
    assert [each.image_id for each in two.members] == [pulled["linux/arm64"], pulled["linux/amd64"]]
    one = engine.images.push(target, platform="linux/arm/v7")
    assert (one.image_id, one.members) == (pulled["linux/arm/v7"], ())
    assert json.loads(stored(target))["config"]["digest"] == pulled["linux/arm/v7"]
    with pytest.raises(
        OtherPlatform, match=r"\(linux/amd64, linux/arm/v7, linux/arm64\) does not match .*s390x"
    ):
        engine.images.push(target, platform=["linux/amd64", "linux/s390x"])
    with pytest.raises(InvalidArgument, match="--platform can't be used with --all-platforms"):
        engine.images.push(target, platform="linux/amd64", all_platforms=True)


def test_all_tags_are_an_index_each(engine: Engine, target: str) -> None:
    pull(engine, "multi", PLATFORMS[:2])
    name = target.rpartition(":")[0]
    engine.images.tag("multi", target)
    engine.images.tag("multi", f"{name}:2")
    first, second = engine.images.push_all(name, all_platforms=True)
    assert (first.reference.tag, second.reference.tag, first.digest) == ("1", "2", second.digest)


def test_removal_forgets_the_index(engine: Engine) -> None:
    pulled = pull(engine, "nested", PLATFORMS[1:2])
    (directory,) = (engine.config.data_root / "onggi/manifests").iterdir()
    assert len(list(directory.iterdir())) == 3
    engine.images.remove(pulled["linux/arm/v7"])
    assert not directory.exists()


def test_members_go_first_and_a_refused_index_changes_no_name(engine: Engine) -> None:
    pull(engine, "multi", PLATFORMS[:2])
    site = UploadSite()
    try:
        name = f"{site.host}/x"
        engine.images.tag("multi", f"{name}:1")
        refusal = b'{"errors": [{"code": "MANIFEST_INVALID", "message": "no lists here"}]}'
        index = "/v2/x/manifests/1"
        site.fault = lambda push: Fault(status=400, body=refusal) if push.path == index else None
        with pytest.raises(OnggiError, match="no lists here"):
            engine.images.push(f"{name}:1", all_platforms=True)
        put = [push.path for push in site.asked("PUT", "/manifests/")]
        assert put[-1] == index
        assert [path.rpartition("/")[2][:7] for path in put[:-1]] == ["sha256:"] * 2
        assert len([digest for image in engine.images for digest in image.digests if name in digest]) == 2
        # The line breaks after the index was taken: the answer is asked for again.
        broken = iter([Fault(deaf=True)])
        site.fault = lambda push: next(broken, None) if push.path == index else None
        pushed = engine.images.push(f"{name}:1", all_platforms=True)
        assert pushed.digest == Digest.of(site.manifests["x", "1"][1])
    finally:
        site.stop()


@pytest.mark.parametrize(
    "suffix, platform",
    [
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("arm64v8", "linux/arm64"),
        ("arm64-v8", "linux/arm64"),
        ("linux-arm-v7", "linux/arm/v7"),
        ("armv6", "linux/arm/v6"),
        ("armhf", "linux/arm/v7"),
        ("riscv64", "linux/riscv64"),
        ("AMD64", "linux/amd64"),
    ],
)
def test_what_a_tag_s_end_means(suffix: str, platform: str) -> None:
    assert Platform.parse(platform).normalised() in _readings(suffix)


def test_a_hostile_index_is_walked_once() -> None:
    entry = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(b"leaf")), "size": 4}
    known = {}
    for _ in range(4):
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] * 1000}).encode()
        index = parse_manifest(raw)
        assert isinstance(index, Index)
        known[index.digest] = index
        entry = {"mediaType": OCI_INDEX, "digest": str(index.digest), "size": len(raw)}
    way = _walk(index, known)
    assert (len(way.indexes), way.indexes[-1], list(way.leaves)) == (4, index, [Digest.of(b"leaf")])

"""Pushes to docker-registry from stores of our own: kept blobs, compressions, damage, bad lines."""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from onggi import Config, Engine
from onggi.cancel import CancelToken
from onggi.engine.pushing import options_of, push
from onggi.layers.tar_stream import LayerChanged
from onggi.oci.digest import Digest
from onggi.oci.reference import Reference
from onggi.progress import LayerProgress, LayerStatus, ProgressEvent
from onggi.registry.client import RegistryClient
from onggi.registry.credentials import Keychain
from onggi.registry.patience import Patience
from onggi.registry.upload import Retries
from onggi.transfer.push import DigestPush, NothingToPush, OtherPlatform
from tests.peers.images import Layout, member, tar
from tests.peers.line import Line
from tests.peers.registries import Registry

LARGE = random.Random(5).randbytes(2_500_000)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Iterator[str]:
    """A registry to pull from: library/large, one large layer and one small; library/zstd."""
    from onggi.hub.layout import OCILayout
    from onggi.hub.server import serving

    layout = Layout(tmp_path_factory.mktemp("source") / "layout")
    layers = [tar([member("large", LARGE)]), tar([member("small", b"s")])]
    layout.image("library/large:latest", layers)
    layout.image("library/zstd:latest", layers, compression="zstd")
    with serving(OCILayout(layout.directory)) as url:
        yield url


@pytest.fixture
def engine(tmp_path: Path, source: str) -> Iterator[Engine]:
    config = Config(
        data_root=tmp_path / "root", registry_mirrors=(source,), docker_config_dir=tmp_path / "docker"
    )
    with Engine(config) as opened:
        yield opened


def stored(name: str) -> dict[str, object]:
    """The manifest that the registry has."""
    host, _, rest = name.partition("/")
    path, _, tag = rest.rpartition(":")
    accept = (
        "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
    )
    request = urllib.request.Request(f"http://{host}/v2/{path}/manifests/{tag}", headers={"Accept": accept})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def states(events: list[ProgressEvent]) -> list[LayerStatus]:
    return [event.status for event in events if isinstance(event, LayerProgress)]


def test_kept_blobs_go_as_they_came(engine: Engine, target: str) -> None:
    image = engine.images.pull("large", keep_blobs=True)
    came = Digest.parse(image.digests[0].partition("@")[2])
    engine.images.tag("large", target)
    pushed = engine.images.push(target)
    assert pushed.digest == came
    assert f"{target.rpartition(':')[0]}@{came}" in engine.images.get(target).digests


def test_without_kept_blobs_layers_are_compressed_anew(engine: Engine, target: str) -> None:
    engine.images.pull("large")
    assert not engine._core.blobs.held()
    engine.images.tag("large", target)
    first = engine.images.push(target)
    events: list[ProgressEvent] = []
    assert engine.images.push(target, progress=events.append) == first
    assert states(events) == [LayerStatus.PREPARING] * 2 + [LayerStatus.HELD] * 2
    # Forgetting everything changes nothing: the same bytes come out again.
    other = target.replace(":1", "/again:1")
    for path in (engine.config.data_root / "image/overlay2/distribution").rglob("*"):
        if path.is_file():
            path.unlink()
    engine.images.tag("large", other)
    events.clear()
    assert engine.images.push(other, progress=events.append).digest == first.digest
    assert states(events).count(LayerStatus.PUSHED) == 2


def test_keeping_fetches_what_is_missing_and_removal_takes_it_along(engine: Engine) -> None:
    engine.images.pull("large")
    engine.images.pull("large", keep_blobs=True)
    assert len(engine._core.blobs.kept()) == 2
    engine.images.pull("large")
    engine.images.tag("large", "other")
    engine.images.remove("large")
    assert len(engine._core.blobs.kept()) == 2
    engine.images.remove("other")
    assert engine._core.blobs.held() == []
    assert list((engine.config.data_root / "onggi/manifests").iterdir()) == []


def test_a_damaged_kept_blob_is_made_anew(engine: Engine, target: str) -> None:
    engine.images.pull("large", keep_blobs=True)
    for digest in engine._core.blobs.kept():
        path = engine._core.blobs.final_path(digest)
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    engine.images.tag("large", target)
    engine.images.push(target)
    assert engine._core.blobs.kept() == []
    engine.images.remove("large")
    engine.images.remove(target)
    assert engine.images.pull(target).size == len(LARGE) + 1


def test_compressions_and_forms(engine: Engine, target: str) -> None:
    engine.images.pull("large")
    engine.images.tag("large", target)
    docker = engine.images.push(target, oci=False)
    assert stored(target)["mediaType"] == docker.media_type
    assert docker.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    engine.images.push(target, compression="zstd")
    document = stored(target)
    assert document["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert {layer["mediaType"] for layer in document["layers"]} == {
        "application/vnd.oci.image.layer.v1.tar+zstd"
    }
    events: list[ProgressEvent] = []
    engine.images.push(target, compression="zstd", progress=events.append)
    assert states(events).count(LayerStatus.HELD) == 2
    engine.images.push(target, compression="none")
    sizes = [layer["size"] for layer in stored(target)["layers"]]
    assert sizes == [len(tar([member("large", LARGE)])), len(tar([member("small", b"s")]))]
    engine.images.push(target, compression="gzip", oci=False)
    assert stored(target)["mediaType"] == docker.media_type


def test_what_came_in_zstd_goes_in_zstd(engine: Engine, target: str) -> None:
    engine.images.pull("zstd")
    engine.images.tag("zstd", target)
    engine.images.push(target)
    assert all(layer["mediaType"].endswith("+zstd") for layer in stored(target)["layers"])


def test_a_changed_layer_is_not_sent(engine: Engine, target: str) -> None:
    image = engine.images.pull("large")
    engine.images.tag("large", target)
    (image.layers[0].path / "large").write_bytes(LARGE[:-1] + b"!")
    with pytest.raises(LayerChanged, match="^could not verify layer data for: sha256:"):
        engine.images.push(target)


def test_what_cannot_be_pushed(engine: Engine, target: str) -> None:
    engine.images.pull("large")
    name = target.rpartition(":")[0]
    with pytest.raises(NothingToPush, match=f"^An image does not exist locally with the tag: {name}$"):
        engine.images.push(target)
    engine.images.tag("large", target)
    with pytest.raises(NothingToPush, match=f"^tag does not exist: {name}:2$"):
        engine.images.push(f"{name}:2")
    with pytest.raises(DigestPush):
        engine.images.push(f"{name}@{Digest.of(b'')}")
    with pytest.raises(OtherPlatform, match="does not match the specified platform"):
        engine.images.push(target, platform="linux/arm64")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_line_that_breaks(engine: Engine, registry: Registry, seed: int) -> None:
    chance = random.Random(seed)
    # Whichever connection the layer takes, it breaks: each is limited until two have.
    line = Line(registry.port, lambda n: chance.randrange(200, 300_000) if line.cuts < 2 else None)
    engine.images.pull("large")
    name = f"{line.host}/broken-{seed}:1"
    engine.images.tag("large", name)
    client = RegistryClient(
        replace(engine.config, registry_mirrors=()),
        Keychain(engine.config.docker_config_dir),
        patience=Patience(first_pause_s=0.01),
        retries=Retries(backoff_s=0.01),
    )
    core, reference = engine._core, Reference.parse(name)
    options = options_of(core)
    try:
        (pushed,) = push(core, client, reference, options, lambda event: None, CancelToken(30))
    finally:
        client.close()
        line.close()
    assert line.cuts
    assert pushed.digest.startswith("sha256:")
    engine.images.remove("large")
    engine.images.remove(name)
    engine.images.pull(f"{registry.host}/broken-{seed}:1")

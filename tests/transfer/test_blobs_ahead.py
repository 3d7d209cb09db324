"""The first layers set out together with the config that tells what they are."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from onggi.errors import OnggiError
from onggi.oci.digest import Digest
from onggi.progress import LayerProgress, LayerStatus, ProgressEvent
from onggi.store.locks import LockDirectory
from onggi.transfer.layers import ConfigMismatch
from onggi.transfer.pull import ForeignOperatingSystem
from tests.crash.child import open_engine
from tests.peers.images import member, tar
from tests.registry.fixtures import registry, serve, site
from tests.registry.registry import FakeRegistry, digest_of
from tests.registry.site import Reply, Request, Site

__all__ = ["registry", "serve", "site"]

NAME = "library/web"
TARS = [tar([member(name, name.encode() * 50_000)]) for name in ("base", "middle", "top", "fourth")]
LAYERS = [gzip.compress(data, mtime=0) for data in TARS]
_WAIT_S = 30.0


def publish(registry: FakeRegistry, **changes: object) -> str:
    """One image of all layers; gives the digest of its config."""
    rootfs = {"type": "layers", "diff_ids": [digest_of(data) for data in TARS]}
    config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": rootfs} | changes).encode()
    media = "application/vnd.oci.image"
    layers = [
        {"mediaType": f"{media}.layer.v1.tar+gzip", "digest": registry.add_blob(data), "size": len(data)}
        for data in LAYERS
    ]
    described = {
        "mediaType": f"{media}.config.v1+json",
        "digest": registry.add_blob(config),
        "size": len(config),
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{media}.manifest.v1+json",
        "config": described,
        "layers": layers,
    }
    registry.add_manifest(NAME, "latest", json.dumps(manifest).encode(), f"{media}.manifest.v1+json")
    return digest_of(config)


def before(registry: FakeRegistry, digest: str, first: Callable[[Request], bool]) -> None:
    """The answer for ``digest`` is held back until there has been a request like ``first``."""
    there = threading.Event()

    def hold(request: Request) -> Reply | None:
        if first(request):
            there.set()
        if digest in request.path:
            assert there.wait(_WAIT_S), "nobody asks for anything else meanwhile"
        return None

    registry.faults.append(hold)


def is_for(*blobs: bytes) -> Callable[[Request], bool]:
    return lambda request: any(digest_of(data) in request.path for data in blobs)


def counts(site: Site) -> list[int]:
    """How often each layer was asked for."""
    return [sum(is_for(data)(request) for request in site.requests) for data in LAYERS]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_layers_do_not_wait_for_the_config(
    registry: FakeRegistry, site: Site, tmp_path: Path, position: int
) -> None:
    config = publish(registry)
    before(registry, config, is_for(LAYERS[position]))
    seen: list[ProgressEvent] = []
    with open_engine(tmp_path / "root", site.url) as engine:
        image = engine.images.pull("web", progress=seen.append)
        assert image.id == config
        assert engine.verify(all=True).clean if hasattr(engine, "verify") else True
    assert counts(site) == [1, 1, 1, 1]
    statuses = [event.status for event in seen if isinstance(event, LayerProgress)]
    assert statuses[:5] == [LayerStatus.PULLING] * 4 + [LayerStatus.WAITING]
    assert not list((tmp_path / "root/onggi/blobs").glob("*/*"))


def test_the_config_does_not_wait_for_layers(registry: FakeRegistry, site: Site, tmp_path: Path) -> None:
    config = publish(registry)
    before(registry, digest_of(LAYERS[0]), lambda request: config in request.path)
    with open_engine(tmp_path / "root", site.url) as engine:
        assert engine.images.pull("web").id == config
    assert counts(site) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"os": "windows"}, ForeignOperatingSystem),
        ({"rootfs": {"type": "layers", "diff_ids": [digest_of(TARS[0])]}}, ConfigMismatch),
    ],
)
def test_a_config_that_is_refused(
    registry: FakeRegistry, site: Site, tmp_path: Path, changes: dict[str, object], error: type[OnggiError]
) -> None:
    config = publish(registry, **changes)
    before(registry, config, is_for(LAYERS[1]))
    with open_engine(tmp_path / "root", site.url) as engine:
        with pytest.raises(error):
            engine.images.pull("web")
        assert not engine.images.list()
    directory = tmp_path / "root/onggi/locks"
    for path in directory.iterdir():
        lease = LockDirectory(directory).try_acquire(path.name, exclusive=True)
        assert lease is not None, path.name
        lease.release()


def test_a_layer_that_never_comes_does_not_hold_up_a_refusal(
    registry: FakeRegistry, site: Site, tmp_path: Path
) -> None:
    publish(registry, os="windows")
    asked, done = threading.Event(), threading.Event()

    def hold(request: Request) -> Reply | None:
        if is_for(LAYERS[0])(request):
            asked.set()
            return Reply(200, LAYERS[0], hold=100)
        return None

    registry.faults.append(hold)
    try:
        with open_engine(tmp_path / "root", site.url) as engine, pytest.raises(ForeignOperatingSystem):
            engine.images.pull("web")
    finally:
        done.set()
    assert asked.is_set()


def test_what_came_is_not_fetched_again(registry: FakeRegistry, site: Site, tmp_path: Path) -> None:
    config = publish(registry)
    arrived = threading.Event()
    blob = tmp_path / "root/onggi/blobs/sha256" / Digest(digest_of(LAYERS[0])).hex

    def fail_once(request: Request) -> Reply | None:
        if config not in request.path:
            return None
        registry.faults.clear()
        while not blob.exists():
            arrived.wait(0.01)
        return Reply(403, b"")

    registry.faults.append(fail_once)
    with open_engine(tmp_path / "root", site.url) as engine:
        with pytest.raises(OnggiError):
            engine.images.pull("web")
        assert engine.images.pull("web").id == config
    assert counts(site)[0] == 1


def test_layers_that_are_known_wait_for_the_config(
    registry: FakeRegistry, site: Site, tmp_path: Path
) -> None:
    """They may be here."""
    publish(registry)
    with open_engine(tmp_path / "root", site.url) as engine:
        engine.images.pull("web")
        publish(registry, author="another")
        del site.requests[:]
        engine.images.pull("web")
    assert counts(site) == [0, 0, 0, 0]

"""Somebody removes what another is about to use: it gets a plain answer, and brings nothing back."""

from __future__ import annotations

import functools
import io
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import onggi
from onggi.engine.layer import LayerNotFound
from onggi.engine.names import ImageNotFound
from onggi.engine.removal import Removal
from onggi.engine.repair import LayerInUse
from onggi.errors import NotFound, OnggiError
from onggi.layers.verify import Believed, check_layers
from onggi.store.locks import LockDirectory, lease_order
from tests.crash.child import open_engine
from tests.peers.processes import wait_until


@pytest.fixture
def other(root: Path, small_shop: str) -> Iterator[onggi.Engine]:
    """Somebody else on the same data root."""
    with open_engine(root, small_shop) as opened:
        yield opened


@contextmanager
def waiting(
    engine: onggi.Engine, lock: str, verb: Callable[[], object], *, exclusive: bool = True
) -> Iterator[list[OnggiError]]:
    """``verb`` runs in a thread and waits for a lock during the block; gives its error after that."""
    errors: list[OnggiError] = []

    def run() -> None:
        try:
            verb()
        except OnggiError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    with engine._core.locks.acquire(lock, exclusive=exclusive):
        thread.start()
        wait_until(somebody_waits, "the other verb at the lock")
        yield errors
    thread.join()


def somebody_waits() -> bool:
    """True when a thread of this process waits for a lock of a data root."""
    frames = (frame for top in sys._current_frames().values() for frame, _ in traceback.walk_stack(top))
    return any(frame.f_code is LockDirectory.acquire.__code__ for frame in frames)


# --- looking --------------------------------------------------------------------------------------


def test_an_image_in_hand(engine: onggi.Engine, other: onggi.Engine) -> None:
    image = engine.images.get("big")
    layer = image.layers[0].stored
    other.images.remove("big")
    assert image.size == 0 and image.last_used == 0.0
    for look in (
        lambda: engine.images.get("big"),
        lambda: list(image.walk()),
        lambda: image.contents.waste(),
        lambda: onggi.engine.images.Image(engine._core, image.id, image.config).history(),
    ):
        with pytest.raises(ImageNotFound):
            look()
    for read in (lambda: layer.read("big"), lambda: list(layer.files()), lambda: list(layer.diff())):
        with pytest.raises(LayerNotFound):
            read()


def test_a_layer_that_is_being_read_stays(engine: onggi.Engine, other: onggi.Engine) -> None:
    image = engine.images.get("big")
    pieces = image.layers[0].stored.read("big")
    first = next(pieces)
    other.images.remove("big")
    assert len(first + b"".join(pieces)) == 500_000
    assert image.layers[0].chain_id in engine._core.layers.db
    assert [item.kind for item in engine.gc().removed] == ["layer"]


def test_doctor(engine: onggi.Engine, other: onggi.Engine) -> None:
    database = engine._core.images
    ids = database.ids()
    other.images.remove("big")
    database.ids = lambda: ids  # type: ignore[method-assign]
    assert database.broken() == []


def test_what_was_pulled_is_told_of(engine: onggi.Engine, other: onggi.Engine) -> None:
    """A pull that has succeeded does not fail because somebody was quick."""
    image = engine.images.pull("big")
    other.images.remove("big")
    assert engine.images._brought(image.id).config == image.config


# --- proving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [False, True])
def test_verify(engine: onggi.Engine, other: onggi.Engine, fast: bool) -> None:
    named, whole = engine.images.verify("big", fast=fast), engine.images.verify(all=True, fast=fast)
    other.images.remove("big")
    with pytest.raises(ImageNotFound):
        list(named)
    assert list(whole) == [] and (whole.images, whole.layers) == (2, 3)


def test_verify_in_the_middle(engine: onggi.Engine, other: onggi.Engine) -> None:
    """The layer goes after the image was read: no layer is missing, there is just one less."""
    image = engine.images.get("big")
    chain = image.layers[0].chain_id
    verification = engine.images.verify(all=True, fast=True)
    found: list[object] = []
    with waiting(engine, f"chain-{chain.hex}", lambda: found.extend(verification)):
        engine._core.images.remove(image.id)
        engine._core.trash.discard(engine._core.layers.db.path(chain))
    assert found == [] and verification.layers == 3


def test_verify_of_a_layer_that_was_made_anew(engine: onggi.Engine) -> None:
    """Of no image: what it should be is read from files, the last of which was gone already."""
    core, layer = engine._core, engine.images.get("web:v2").layers[1]
    half_read = Believed(layer.chain_id, layer.diff_id, None, False)
    (found,) = check_layers(core.layers, engine._workers, [half_read], fast=True)
    assert found.sound and not found.gone


def test_repair_brings_nothing_back(engine: onggi.Engine, other: onggi.Engine) -> None:
    image_id = engine.images.get("big").id
    with waiting(engine, f"image-{image_id.hex}", lambda: other.images.repair("big")) as errors:
        engine._core.images.remove(image_id)
    assert [type(error) for error in errors] == [ImageNotFound]
    assert image_id not in engine._core.images


def test_repair_sees_who_mounts_meanwhile(engine: onggi.Engine, other: onggi.Engine) -> None:
    """Nobody stood on the layer when it was looked at; when the repair has it, somebody does."""
    base = engine.images.get("web:v1").layers[0].chain_id
    shutil.rmtree(engine._core.layers.db.path(base))
    verb = functools.partial(other.images.repair, "web:v1")
    with waiting(engine, f"chain-{base.hex}", verb, exclusive=False) as errors:
        engine.mounts.mount("web:v2")
    engine.mounts.unmount("web:v2")
    assert [type(error) for error in errors] == [LayerInUse]
    other.images.repair("web:v1")
    assert not list(engine.images.verify(all=True))


# --- sending --------------------------------------------------------------------------------------


def test_save(engine: onggi.Engine, other: onggi.Engine) -> None:
    image = engine.images.get("big")
    lock = f"chain-{image.layers[0].chain_id.hex}"
    with waiting(engine, lock, lambda: other.images.save("big", io.BytesIO())) as errors:
        engine._core.images.remove(image.id)
    assert [type(error) for error in errors] == [ImageNotFound]


def test_sync(engine: onggi.Engine, root: Path, tmp_path: Path, small_shop: str) -> None:
    """Named, it is an error; among all images, it is just not one of them."""
    from onggi.engine.sync import _local_source

    with _local_source(engine.config, str(root)) as source:
        image_id = engine.images.get("big").id
        find = source._find

        def find_and_remove(name: str) -> object:
            found = find(name)
            engine._core.images.remove(image_id)
            return found

        source._find = find_and_remove  # type: ignore[assignment]
        with pytest.raises(NotFound):
            source.offers(["big"])
        assert len(source.offers([])) == 2


def test_leases_are_taken_by_height(engine: onggi.Engine) -> None:
    """Two loads of the same images in another order would wait for each other for ever."""
    first, second = (engine._core.images.get(engine.images.get(name).id) for name in ("web:v1", "web:v2"))
    order = lease_order([first.chain_ids, second.chain_ids])
    assert order == lease_order([second.chain_ids, first.chain_ids])
    assert order[0] == first.chain_ids[0] and sorted(order[1:]) == order[1:] and len(order) == 3


# --- removing -------------------------------------------------------------------------------------


def test_a_name_that_came_meanwhile_keeps_all_names(engine: onggi.Engine, other: onggi.Engine) -> None:
    image = engine.images.get("big")
    assert image.tags == ["big:latest"]
    other.images.tag("big", "rescued")
    with engine._core.writing():
        assert not Removal(engine._core, "prune").expire(image, float("inf"))
    assert engine.images.get("rescued").tags == ["big:latest", "rescued:latest"]


def test_notes_are_left_to_who_uses_their_image(engine: onggi.Engine, root: Path) -> None:
    image_id = engine.images.get("big").id
    engine.images.remove("big")
    note = root / "onggi/last-use" / image_id.hex
    note.touch()
    with engine._core.locks.acquire(f"image-{image_id.hex}", exclusive=False):
        assert [item.verdict for item in engine.gc().items if item.kind == "last use"] == ["busy"]
    assert note.exists()
    engine.gc()
    assert not note.exists()

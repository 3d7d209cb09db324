"""What a name meant, and the way back."""

from __future__ import annotations

from pathlib import Path

import pytest

import onggi
from onggi.engine.tag_history import ImageGone, NothingBefore
from onggi.errors import InvalidArgument


def verbs(engine: onggi.Engine, name: str) -> list[str]:
    return [change.by for change in engine.images.tag_history(name)]


def test_every_verb_is_named(engine: onggi.Engine, tmp_path: Path) -> None:
    engine.images.save("web:v2", tmp_path / "archive")
    engine.images.tag("big", "web:v2")
    engine.images.rollback("web:v2")
    engine.images.remove("web:v2")
    engine.images.load(tmp_path / "archive")
    engine.images.prune(all=True)
    assert verbs(engine, "web:v2") == ["prune", "load", "rmi", "rollback", "tag", "pull"]
    (change,) = [change for change in engine.images.tag_history("web:v2") if change.by == "pull"]
    assert change.digest is not None and change.digest.startswith("sha256:")
    assert verbs(engine, "never") == []


def test_rollback_and_back_again(engine: onggi.Engine) -> None:
    old, new = engine.images.get("web:v1").id, engine.images.get("big").id
    engine.images.tag("big", "web:v1")
    assert engine.images.rollback("web:v1").id == old
    assert engine.images.rollback("web:v1").id == new
    assert engine.images.get("web:v1").id == new


def test_rollback_of_a_name_that_was_removed(engine: onggi.Engine) -> None:
    engine.images.tag("web:v1", "kept")
    engine.images.remove("web:v1")
    assert "web:v1" in engine.images.rollback("web:v1").tags


def test_nothing_before(engine: onggi.Engine) -> None:
    for name in ("big", "never"):
        with pytest.raises(NothingBefore, match=f"roll back {name}:latest: it meant nothing before"):
            engine.images.rollback(name)


def test_the_image_is_gone_and_comes_back_by_its_digest(engine: onggi.Engine) -> None:
    image_id = engine.images.get("web:v1").id
    engine.images.tag("big", "web:v1")
    engine.images.remove(image_id, force=True)
    with pytest.raises(ImageGone) as caught:
        engine.images.rollback("web:v1")
    command = f"onggi pull web@{caught.value.digest}"
    assert command in caught.value.hint
    engine.images.pull(command.removeprefix("onggi pull "))
    assert engine.images.rollback("web:v1").id == image_id


def test_an_image_that_was_never_pulled(engine: onggi.Engine) -> None:
    engine.images.tag("big", "made")
    engine.images.remove("made")
    engine.images.remove("big")
    with pytest.raises(ImageGone) as caught:
        engine.images.rollback("made")
    assert "it was not pulled under this name" in caught.value.hint


def test_a_digest_has_no_history(engine: onggi.Engine) -> None:
    digest = engine.images.get("big").digests[0]
    for verb in (engine.images.tag_history, engine.images.rollback):
        with pytest.raises(InvalidArgument, match="always means the same"):
            verb(digest)

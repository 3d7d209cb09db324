"""Last uses, pins and the trash: small files under ``onggi/``."""

from __future__ import annotations

import os
import time

from onggi.oci.digest import ImageID
from onggi.store import trash as trash_module
from onggi.store.last_use import LastUse
from onggi.store.pins import Pins
from onggi.store.trash import Trash

ONE, TWO = ImageID("sha256:" + "1" * 64), ImageID("sha256:" + "2" * 64)


def test_a_use_is_the_time_of_a_file(tmp_path):
    uses = LastUse(tmp_path / "last-use")
    assert uses.of(ONE) is None
    uses.note([ONE, TWO])
    os.utime(uses.path(ONE), (5, 5))
    assert uses.of(ONE) == 5
    uses.note([ONE])
    assert abs(uses.of(ONE) - time.time()) < 10
    assert uses.names() == [ONE.hex, TWO.hex]
    uses.forget(ONE)
    uses.forget(ONE)
    assert uses.of(ONE) is None


def test_a_use_that_cannot_be_noted_is_no_error(tmp_path):
    """A data root that only dockerd has written has no place for it."""
    LastUse(tmp_path / "nowhere" / "last-use").note([ONE])
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "file").write_bytes(b"")
    LastUse(tmp_path / "file").note([ONE])


def test_pins(tmp_path):
    pins = Pins(tmp_path / "pins")
    assert pins.ids() == [] and ONE not in pins
    assert pins.add(ONE)
    assert not pins.add(ONE)
    assert ONE in pins and pins.ids() == [ONE]
    assert pins.remove(ONE)
    assert not pins.remove(ONE)


def test_trash_takes_files_links_and_trees(tmp_path):
    trash = Trash(tmp_path / "trash")
    (tmp_path / "tree/below").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    for name in ("tree", "file", "link", "gone"):
        trash.discard(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "trash"]
    assert trash.empty() == 0


def test_what_a_kill_left_in_the_trash_goes_later(tmp_path, monkeypatch):
    trash = Trash(tmp_path / "trash")
    (tmp_path / "tree/below").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(trash_module, "_delete", lambda path: None)
        trash.discard(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    assert trash.empty() == 1
    assert os.listdir(tmp_path / "trash") == []

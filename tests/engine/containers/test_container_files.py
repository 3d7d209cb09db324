"""What a container changed, by the Python interface."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

import onggi
from onggi.layers.writable import NoWritableLayer


def test_diff_and_export_of_a_container_that_never_ran(engine: onggi.Engine) -> None:
    container = engine.containers.create("box", ["true"])
    assert list(container.diff()) == []
    with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as archive:
        names = archive.getnames()
    assert {"bin/busybox", ".dockerenv", "etc/hosts"} <= set(names)
    # Nothing stays mounted, and nobody is kept from starting it.
    assert str(engine.config.data_root) not in Path("/proc/self/mountinfo").read_text()
    container.start()
    assert container.wait() == 0


def test_export_is_an_event(engine: onggi.Engine) -> None:
    container = engine.containers.create("box", ["true"], name="exported")
    for _ in container.export():
        pass
    events = [event.action for event in engine.events.read(follow=False) if event.id == container.id]
    assert events == ["create", "export"]


def test_diff_of_a_container_whose_directory_is_gone(engine: onggi.Engine) -> None:
    container = engine.containers.create("box", ["true"])
    upper = Path(container.inspect()["GraphDriver"]["Data"]["UpperDir"])
    upper.rmdir()
    with pytest.raises(NoWritableLayer):
        list(container.diff())

"""What a container changed, by the Python interface."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

import onggi
from onggi.engine.containers.copy_paths import CopyRefused
from onggi.engine.containers.copying import FileNotInContainer
from onggi.layers.writable import NoWritableLayer
from onggi.tree.copy_in import CannotOverwrite


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


def test_copy_in_and_out(engine: onggi.Engine, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index").write_text("page")
    with engine.containers.run("box", ["sleep", "600"]) as container:
        container.copy_in(tmp_path / "site", "/srv")
        container.copy_in(b"bytes", "/tmp/made")
        with open(tmp_path / "site/index", "rb") as file:
            container.copy_in(file, "/tmp/streamed")
        script = "cat /srv/index /tmp/made /tmp/streamed; echo more >> /srv/index"
        assert container.exec(["sh", "-c", script]).communicate().stdout == b"pagebytespage"
        container.copy_out("/srv", tmp_path / "back")
        assert (tmp_path / "back/index").read_text() == "pagemore\n"
        with pytest.raises(FileNotInContainer):
            container.copy_out("/nope", tmp_path / "x")
        with pytest.raises(CopyRefused, match="cannot copy directory"):
            container.copy_in(tmp_path / "site", "/tmp/made")
    assert str(engine.config.data_root) not in Path("/proc/self/mountinfo").read_text()


def test_a_process_that_swaps_links_cannot_lead_out(engine: onggi.Engine, tmp_path: Path) -> None:
    """CVE-2018-15664: while the container exchanges a directory for a link to the host, over and over."""
    (tmp_path / "host").mkdir()
    (tmp_path / "host/secret").write_text("untouched")
    (tmp_path / "f").write_text("from the host")
    swap = f"cd /tmp; ln -s {tmp_path}/host l; while :; do mkdir -p a; mv a b; cp -P l a; rm -f a; rm -rf b; done"
    seen = set()
    with engine.containers.run("box", ["sh", "-c", swap]) as container:
        for _ in range(40):
            for copy in (
                lambda: container.copy_in(tmp_path / "f", "/tmp/a/secret"),
                lambda: container.copy_out("/tmp/a/secret", tmp_path / "got"),
            ):
                try:
                    copy()
                    seen.add("copied")
                except (FileNotInContainer, CopyRefused, CannotOverwrite, OSError) as error:
                    seen.add(type(error).__name__)
            if (tmp_path / "got").exists():
                assert (tmp_path / "got").read_text() == "from the host"
    assert (tmp_path / "host/secret").read_text() == "untouched"
    assert {path.name for path in (tmp_path / "host").iterdir()} == {"secret"}
    assert len(seen) > 1


def test_commit_gives_an_image(engine: onggi.Engine) -> None:
    container = engine.containers.run("box", ["sh", "-c", "echo more > /more"])
    container.wait()
    image = container.commit("made:here", author="me", message="why", changes=['CMD ["cat", "/more"]'])
    try:
        assert image == engine.images.get("made:here")
        assert len(image.layers) == len(engine.images.get("box").layers) + 1
        with engine.containers.run("made:here") as again:
            assert again.wait() == 0
            assert b"".join(entry.data for entry in again.logs()) == b"more\n"
    finally:
        engine.images.remove("made:here", force=True)

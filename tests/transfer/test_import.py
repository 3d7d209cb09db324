from __future__ import annotations

import gzip
import io
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from onggi.cancel import CancelToken
from onggi.errors import Cancelled, DataLoss, InvalidArgument, NotFound, Unavailable, Unsupported
from tests.compat.stores import layer_trees
from tests.crash.checks import leftovers
from tests.peers.images import member, tar
from tests.transfer.archives import docker_archive, engine
from tests.transfer.test_load import untouched

ROOTFS = tar([member("etc/", None), member("etc/name", b"onggi"), member("big", b"x" * 2_000_000)])


@pytest.fixture
def server() -> Iterator[str]:
    """``/ok`` is the tarball, ``/short`` breaks off, anything else is not there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in ("/ok", "/short") else 404)
            self.send_header("Content-Length", str(len(ROOTFS)))
            self.end_headers()
            if self.path in ("/ok", "/short"):
                self.wfile.write(ROOTFS if self.path == "/ok" else ROOTFS[:1_000_000])
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_sources_make_the_same_layer(tmp_path: Path, server: str) -> None:
    """A file, a compressed one, a stream, an address: one layer; the second time it is here already."""
    plain, packed = tmp_path / "a.tar", tmp_path / "a.tgz"
    plain.write_bytes(ROOTFS)
    packed.write_bytes(gzip.compress(ROOTFS))
    read, write = os.pipe()
    threading.Thread(target=lambda: os.fdopen(write, "wb").write(ROOTFS)).start()
    root = tmp_path / "root"
    with engine(root) as opened, open(read, "rb", buffering=0) as pipe:
        images = [
            opened.images.import_(source)
            for source in (plain, packed, io.BytesIO(ROOTFS), pipe, f"{server}/ok")
        ]
        assert [image.config.comment for image in images] == [
            *["Imported from -"] * 4,
            f"Imported from {server}/ok",
        ]
        assert len({image.config.diff_ids for image in images}) == 1
    assert len(layer_trees(root)) == 1
    assert not leftovers(root)


def test_names_changes_and_events(tmp_path: Path) -> None:
    with engine(tmp_path / "root") as opened:
        image = opened.images.import_(
            io.BytesIO(ROOTFS),
            "imported:1",
            changes=['CMD ["sh"]', "LABEL k=v"],
            message="by hand",
            platform="linux/arm64",
        )
        assert (image.tags, image.config.config["Cmd"]) == (["imported:1"], ["sh"])
        assert (image.config.architecture, image.config.history[0].comment) == ("arm64", "by hand")
        assert image.last_tagged
        events = [(event.action, event.attributes) for event in opened.events.read(follow=False)]
        assert events == [
            ("tag", {"k": "v", "name": "imported:1"}),
            ("import", {"k": "v", "name": image.id}),
        ]


def test_a_damaged_layer_is_remade_in_its_place(tmp_path: Path) -> None:
    """Its children keep their ground: the directory keeps its name."""
    root = tmp_path / "root"
    upper = tar([member("upper", b"u")])
    with engine(root) as opened:
        opened.images.load(io.BytesIO(docker_archive([ROOTFS, upper], tags=["child:1"])))
        base, _ = opened.images.get("child:1").layers
        before = layer_trees(root)
        shutil.rmtree(root / "overlay2" / base.cache_id)
        opened.images.import_(io.BytesIO(ROOTFS))
        assert not [finding for finding in opened.system.doctor() if finding.level == "fail"]
    after = layer_trees(root)
    assert after.keys() == before.keys()
    assert (root / "overlay2" / base.cache_id / "diff/etc/name").read_bytes() == b"onggi"


def test_refused(tmp_path: Path, server: str) -> None:
    cases = [
        (io.BytesIO(b"x" * 3000), {}, DataLoss, "archive/tar: invalid tar header"),
        (io.BytesIO(ROOTFS[:1000]), {}, DataLoss, "unexpected EOF"),
        (io.BytesIO(gzip.compress(ROOTFS)[:-9]), {}, DataLoss, "unexpected EOF"),
        (tmp_path / "nope", {}, NotFound, "no such file or directory"),
        (f"{server}/nope", {}, Unavailable, "Got HTTP status code >= 400: 404 Not Found"),
        (f"{server}/short", {}, Unavailable, "/short"),
        ("http://127.0.0.1:1/x", {}, Unavailable, "connection refused"),
        ("ftp://host/x", {}, InvalidArgument, "no http address"),
        (
            io.BytesIO(ROOTFS),
            {"reference": "x@sha256:" + "0" * 64},
            InvalidArgument,
            "cannot import digest reference",
        ),
        (io.BytesIO(ROOTFS), {"reference": "sha256:abc"}, InvalidArgument, "ambiguous"),
        (io.BytesIO(ROOTFS), {"platform": "windows"}, Unsupported, "operating system is not supported"),
        (io.BytesIO(ROOTFS), {"changes": ["RUN x"]}, InvalidArgument, "run is not a valid change command"),
    ]
    for source, settings, error, text in cases:
        with engine(tmp_path / "root") as opened, pytest.raises(error) as caught:
            opened.images.import_(source, **settings)
        assert text in str(caught.value)
        assert untouched(tmp_path / "root")


def test_a_failure_at_the_last_step_takes_image_and_layer_back(tmp_path: Path) -> None:
    """The name cannot be written: what was committed goes at once, what was here before stays."""
    root = tmp_path / "root"
    with engine(root) as opened:
        before = opened.images.import_(io.BytesIO(tar([member("before", b"b")])))
        trees = layer_trees(root)
        shutil.rmtree(root / "onggi/tags", ignore_errors=True)
        (root / "onggi/tags").write_text("in the way of the tag journal")
        for tarball in (ROOTFS, tar([member("before", b"b")])):
            with pytest.raises(OSError):
                opened.images.import_(io.BytesIO(tarball), "imported:1", changes=["LABEL a=b"])
            assert [image.id for image in opened.images.list(all=True)] == [before.id]
            assert layer_trees(root) == trees
            assert not leftovers(root)


def test_names_that_cannot_be_read_keep_what_they_may_name(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with engine(root) as opened:
        opened.images.import_(io.BytesIO(tar([member("before", b"b")])))
        (root / "image/overlay2/repositories.json").write_text("{")
        with pytest.raises(DataLoss, match="not JSON"):
            opened.images.import_(io.BytesIO(ROOTFS), "imported:1")
        (root / "image/overlay2/repositories.json").write_text("{}")
        images = opened.images.list(all=True)
        assert len(images) == 2
        assert all(image.layers[0].path.is_dir() for image in images)


def test_stopped(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, ROOTFS[:30_000])
    cancel = CancelToken()
    threading.Timer(0.4, cancel.cancel).start()
    with (
        engine(tmp_path / "root") as opened,
        open(read, "rb", buffering=0) as stream,
        pytest.raises(Cancelled),
    ):
        opened.images.import_(stream, cancel=cancel)
    os.close(write)
    assert untouched(tmp_path / "root")

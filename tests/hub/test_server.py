"""The registry as a program, with TLS, with middlewares; other implementations as its clients."""

from __future__ import annotations

import http.client
import json
import logging
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from onggi.hub.layout import OCILayout
from onggi.hub.server import AddressUnavailable, serving
from onggi.hub.storage import StoredBlob
from onggi.oci.digest import Digest
from tests.peers.images import Layout, member, odd_layers, tar
from tests.peers.processes import free_port, require
from tests.peers.registries import Authority


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    written = Layout(tmp_path / "layout")
    written.image("library/nginx:latest", [tar([member("f", b"content" * 1000)])])
    return written


def test_the_program_serves_and_ends(layout: Layout) -> None:
    port = free_port()
    command = [sys.executable, "-m", "onggi.hub", str(layout.directory), "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline() == f"127.0.0.1:{port}/library/nginx:latest\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/") as answer:
            assert answer.status == 200
        program.send_signal(signal.SIGTERM)
        assert program.wait(20) == 0
        assert '"GET /v2/ HTTP/1.1" 200' in program.stderr.read()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["/nonexistent"], "Error: open OCI layout: /nonexistent: oci-layout"),
        ([".", "--listen", "nonsense"], "is not HOST:PORT"),
    ],
)
def test_the_program_says_what_is_wrong(words: list[str], message: str) -> None:
    done = subprocess.run([sys.executable, "-m", "onggi.hub", *words], capture_output=True, text=True)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_in_use(layout: Layout) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(AddressUnavailable) as caught, serving(OCILayout(layout.directory), port=port):
            pass
    assert caught.value.address == f"127.0.0.1:{port}"


def test_tls_and_the_blob_over_it(layout: Layout, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.issue("hub")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    storage = OCILayout(layout.directory)
    client = ssl.create_default_context(cafile=str(authority.ca))
    with serving(storage, tls=server) as url:
        assert url.startswith("https://")
        with urllib.request.urlopen(f"{url}/v2/library/nginx/manifests/latest", context=client) as answer:
            manifest = answer.read()
        digest = json.loads(manifest)["layers"][0]["digest"]
        with urllib.request.urlopen(f"{url}/v2/library/nginx/blobs/{digest}", context=client) as answer:
            assert len(answer.read()) == int(answer.headers["Content-Length"])


def test_a_middleware_sees_requests_first_and_answers_last(layout: Layout) -> None:
    seen = []

    @web.middleware
    async def record(request: web.Request, handler: object) -> web.StreamResponse:
        response = await handler(request)  # type: ignore[operator]
        seen.append((request.method, request.path, response.status))
        return response

    with serving(OCILayout(layout.directory), middlewares=[record]) as url:
        urllib.request.urlopen(f"{url}/v2/library/nginx/tags/list").close()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{url}/v2/library/none/tags/list")
    assert seen == [("GET", "/v2/library/nginx/tags/list", 200), ("GET", "/v2/library/none/tags/list", 404)]


def test_skopeo_copies_an_image_out(tmp_path: Path) -> None:
    written = Layout(tmp_path / "layout")
    digest = written.image("team/odd:1", odd_layers())
    with serving(OCILayout(written.directory)) as url:
        source = f"docker://{url.partition('//')[2]}/team/odd:1"
        target = tmp_path / "copied"
        command = [require("skopeo"), "--insecure-policy", "copy", "-q", "--src-tls-verify=false"]
        subprocess.run([*command, source, f"dir:{target}"], check=True, capture_output=True)
    assert (target / "manifest.json").read_bytes() == (
        written.directory / "blobs/sha256" / digest[7:]
    ).read_bytes()


def test_a_layout_that_skopeo_wrote_is_served(tmp_path: Path) -> None:
    written = Layout(tmp_path / "layout")
    written.image("team/odd:1", odd_layers())
    command = [require("skopeo"), "--insecure-policy", "copy", "-q"]
    source, copied = f"oci:{written.directory}:docker.io/team/odd:1", tmp_path / "copied"
    subprocess.run([*command, source, f"oci:{copied}:v1"], check=True, capture_output=True)
    layout = OCILayout(copied)
    assert list(layout.tags("copied")) == ["v1"]
    with serving(layout) as url:
        urllib.request.urlopen(f"{url}/v2/copied/manifests/v1").close()


def test_a_client_that_goes_away_is_nothing_to_complain_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written = Layout(tmp_path / "layout")
    large = written.manifest([tar([member("large", bytes(32 << 20))])], compression="none")
    written.name("a/b:1", large)
    layout = OCILayout(written.directory)
    digest = json.loads(layout.manifest("a/b", "1").raw)["layers"][0]["digest"]
    with serving(layout) as url:
        address = urlsplit(url)
        for _ in range(3):
            with socket.create_connection((address.hostname, address.port)) as connection:
                connection.sendall(f"GET /v2/a/b/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                connection.recv(1000)
        urllib.request.urlopen(f"{url}/v2/").close()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_blob_that_shrinks_is_not_passed_off_as_whole(layout: Layout) -> None:
    class Shrinking(OCILayout):
        def blob(self, repository: str, digest: Digest) -> StoredBlob:
            found = super().blob(repository, digest)
            return StoredBlob(digest, found.path, found.size + 1)

    storage = Shrinking(layout.directory)
    digest = json.loads(storage.manifest("library/nginx", "latest").raw)["layers"][0]["digest"]
    with serving(storage) as url, pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        urllib.request.urlopen(f"{url}/v2/library/nginx/blobs/{digest}").read()

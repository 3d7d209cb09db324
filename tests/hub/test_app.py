"""The specification's requests, over real sockets."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from onggi.oci.digest import Digest
from onggi.oci.media_types import ACCEPTED_MANIFESTS, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.peers.images import Layout, member, tar

CONTENT = bytes(range(256)) * 4096


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["errors"][0]["code"]


class Client:
    def __init__(self, url: str) -> None:
        self.address = urlsplit(url).netloc

    def __call__(self, path: str, method: str = "GET", **headers: str | list[str]) -> Answer:
        connection = http.client.HTTPConnection(self.address, timeout=20)
        connection.putrequest(method, path)
        for name, value in headers.items():
            for line in [value] if isinstance(value, str) else value:
                connection.putheader(name.replace("_", "-"), line)
        connection.endheaders()
        answer = Answer(connection.getresponse())
        connection.close()
        return answer

    def raw(self, request: bytes) -> bytes:
        host, _, port = self.address.partition(":")
        with socket.create_connection((host, int(port)), 20) as connection:
            connection.sendall(request + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            return connection.makefile("rb").read()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    written = Layout(tmp_path_factory.mktemp("hub") / "layout")
    first = written.manifest([tar([member("big", CONTENT)])], compression="none")
    index = written.index([(first, {"os": "linux", "architecture": "amd64"})])
    written.name("library/nginx:latest", index)
    for number in range(5):
        written.image(f"team/app:v{number}", [tar([member("f", b"%d" % number)])])
    written.image("library/debian:buster-slim", [tar([member("d")])])
    return written


@pytest.fixture(scope="module")
def get(layout: Layout) -> Iterator[Client]:
    with serving(OCILayout(layout.directory)) as url:
        yield Client(url)


@pytest.fixture(scope="module")
def blob(get: Client) -> tuple[str, bytes]:
    """Path and content of nginx's one layer."""
    index = get("/v2/library/nginx/manifests/latest").json
    manifest = get(f"/v2/library/nginx/manifests/{index['manifests'][0]['digest']}").json
    return f"/v2/library/nginx/blobs/{manifest['layers'][0]['digest']}", tar([member("big", CONTENT)])


def test_it_says_that_it_is_a_registry(get: Client) -> None:
    for path in ("/v2/", "/v2"):
        for method in ("GET", "HEAD"):
            answer = get(path, method)
            assert answer.status == 200
            assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_a_manifest_by_tag_and_by_digest(get: Client) -> None:
    by_tag = get("/v2/library/nginx/manifests/latest", Accept=list(ACCEPTED_MANIFESTS))
    digest = by_tag.headers["Docker-Content-Digest"]
    assert (by_tag.status, by_tag.headers["Content-Type"]) == (200, OCI_INDEX)
    assert digest == Digest.of(by_tag.body)
    assert by_tag.headers["ETag"] == f'"{digest}"'
    by_digest = get(f"/v2/library/nginx/manifests/{digest}")
    assert by_digest.body == by_tag.body
    head = get("/v2/library/nginx/manifests/latest", "HEAD")
    assert head.body == b""
    assert head.headers["Content-Length"] == str(len(by_tag.body))
    assert head.headers["Docker-Content-Digest"] == digest


def test_what_the_client_does_not_take_is_not_there_by_tag(get: Client) -> None:
    path = "/v2/library/nginx/manifests/"
    refused = get(path + "latest", Accept=[DOCKER_MANIFEST, OCI_MANIFEST])
    assert (refused.status, refused.code) == (404, "MANIFEST_UNKNOWN")
    assert OCI_INDEX in refused.json["errors"][0]["message"]
    digest = get(path + "latest").headers["Docker-Content-Digest"]
    assert get(path + digest, Accept=[DOCKER_MANIFEST]).status == 200


def test_what_is_held_is_not_sent_again(get: Client, blob: tuple[str, bytes]) -> None:
    for path in ("/v2/library/nginx/manifests/latest", blob[0]):
        tag = get(path, "HEAD").headers["ETag"]
        assert get(path, If_None_Match=f'"other", {tag}').status == 304
        assert get(path, If_None_Match='"other"').status == 200


def test_a_blob_whole_and_in_parts(get: Client, blob: tuple[str, bytes]) -> None:
    path, content = blob
    whole = get(path)
    assert (whole.status, whole.body) == (200, content)
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert whole.headers["Docker-Content-Digest"] == Digest.of(content) == path.rpartition("/")[2]
    head = get(path, "HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(content)))
    part = get(path, Range="bytes=1000-1999")
    assert (part.status, part.body) == (206, content[1000:2000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(content)}"
    tail = get(path, Range=f"bytes={len(content) - 5}-")
    assert (tail.status, tail.body) == (206, content[-5:])
    behind = get(path, Range=f"bytes={len(content)}-")
    assert (behind.status, behind.headers["Content-Range"]) == (416, f"bytes */{len(content)}")


def test_a_range_of_another_version_is_the_whole(get: Client, blob: tuple[str, bytes]) -> None:
    path, content = blob
    tag = get(path, "HEAD").headers["ETag"]
    assert get(path, Range="bytes=0-9", If_Range=tag).body == content[:10]
    assert get(path, Range="bytes=0-9", If_Range='"sha256:other"').body == content


def test_a_connection_is_good_for_many_requests(get: Client, blob: tuple[str, bytes]) -> None:
    connection = http.client.HTTPConnection(get.address, timeout=20)
    for start in range(0, 100, 10):
        connection.request("GET", blob[0], headers={"Range": f"bytes={start}-{start + 9}"})
        assert connection.getresponse().read() == blob[1][start : start + 10]
    connection.close()


def test_tags_in_pages(get: Client) -> None:
    assert get("/v2/team/app/tags/list").json == {"name": "team/app", "tags": [f"v{n}" for n in range(5)]}
    seen, path = [], "/v2/team/app/tags/list?n=2"
    while path:
        answer = get(path)
        assert len(answer.json["tags"]) <= 2
        seen += answer.json["tags"]
        path = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert seen == [f"v{n}" for n in range(5)]
    assert get("/v2/team/app/tags/list?last=v2").json["tags"] == ["v3", "v4"]
    none = get("/v2/team/app/tags/list?n=0")
    assert none.json["tags"] == []
    assert "Link" not in none.headers


def test_the_catalog_in_pages(get: Client) -> None:
    names = ["library/debian", "library/nginx", "team/app"]
    assert get("/v2/_catalog").json == {"repositories": names}
    page = get("/v2/_catalog?n=2")
    assert page.json == {"repositories": names[:2]}
    assert page.headers["Link"] == '</v2/_catalog?last=library%2Fnginx&n=2>; rel="next"'
    assert get("/v2/_catalog?n=999999999").json == {"repositories": names}


@pytest.mark.parametrize("number", ["-1", "a", "1e9", "9" * 4000, "", "１"])
def test_a_page_of_no_number(get: Client, number: str) -> None:
    from urllib.parse import quote

    answer = get(f"/v2/_catalog?n={quote(number)}")
    assert (answer.status, answer.code) == (400, "PAGINATION_NUMBER_INVALID")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/library/none/manifests/latest", 404, "NAME_UNKNOWN"),
        ("/v2/library/none/tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/library/nginx/manifests/none", 404, "MANIFEST_UNKNOWN"),
        ("/v2/library/nginx/manifests/sha256:" + "0" * 64, 404, "MANIFEST_UNKNOWN"),
        ("/v2/library/nginx/blobs/sha256:" + "0" * 64, 404, "BLOB_UNKNOWN"),
        ("/v2/library/nginx/blobs/sha256:" + "0" * 63, 400, "DIGEST_INVALID"),
        ("/v2/library/nginx/blobs/sha256:" + "Z" * 64, 400, "DIGEST_INVALID"),
        ("/v2/library/nginx/blobs/md5:" + "0" * 32, 400, "DIGEST_INVALID"),
        ("/v2/library/nginx/blobs/latest", 400, "DIGEST_INVALID"),
        ("/v2/library/nginx/manifests/-tag", 400, "TAG_INVALID"),
        ("/v2/library/nginx/manifests/" + "t" * 129, 400, "TAG_INVALID"),
        ("/v2/Library/nginx/manifests/latest", 400, "NAME_INVALID"),
        ("/v2/" + "a/" * 200 + "b/manifests/latest", 400, "NAME_INVALID"),
        ("/v2/library/nginx", 404, "UNKNOWN"),
        ("/v1/search", 404, "UNKNOWN"),
    ],
)
def test_errors_have_the_codes_of_the_specification(get: Client, path: str, status: int, code: str) -> None:
    answer = get(path)
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert get(path, "HEAD").status == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v2/library/nginx/manifests/latest"),
        ("DELETE", "/v2/library/nginx/manifests/latest"),
        ("DELETE", "/v2/library/nginx/blobs/sha256:" + "0" * 64),
        ("POST", "/v2/_catalog"),
    ],
)
def test_nobody_writes(get: Client, method: str, path: str) -> None:
    answer = get(path, method)
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(
    "path",
    [
        b"/v2/library/nginx/blobs/../../../index.json",
        b"/v2/library/nginx/blobs/..%2f..%2findex.json",
        b"/v2/../../etc/passwd/manifests/latest",
        b"/v2/..%2f..%2fetc/manifests/latest",
        b"/v2/library/nginx/manifests/..%2f..%2foci-layout",
        b"/v2/library/nginx/manifests/%00",
        b"/v2//library//nginx/manifests/latest",
        b"/v2/library/nginx/blobs/sha256:" + b"..%2f" * 12 + b"0" * 4,
    ],
)
def test_no_path_leads_out(get: Client, path: bytes) -> None:
    answer = get.raw(b"GET " + path + b" HTTP/1.1")
    assert answer.split(b" ", 2)[1] in (b"400", b"404"), answer
    assert b"imageLayoutVersion" not in answer
    assert b"root:" not in answer


def test_symbolic_links_in_place_of_blobs_lead_nowhere_else(get: Client, tmp_path: Path) -> None:
    written = Layout(tmp_path / "layout")
    descriptor = written.manifest([tar([member("f")])])
    written.name("a/b:1", descriptor)
    manifest = json.loads((written.directory / "blobs/sha256" / descriptor["digest"][7:]).read_text())
    digest = manifest["layers"][0]["digest"]
    path = written.directory / "blobs/sha256" / digest[7:]
    path.unlink()
    path.symlink_to("/etc/passwd")
    with serving(OCILayout(written.directory)) as url:
        assert Client(url)(f"/v2/a/b/blobs/{digest}").status == 404

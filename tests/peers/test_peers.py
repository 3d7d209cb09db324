"""The peers themselves: what other tests rely on."""

from __future__ import annotations

import errno
import json
import os
import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from urllib.parse import urlencode

import pytest
from demo.content import write_content

from onggi.hub.layout import OCILayout
from onggi.hub.server import serving
from onggi.oci.media_types import OCI_MANIFEST
from tests.peers.daemon import Daemon
from tests.peers.images import Layout
from tests.peers.registries import Registry, TokenServer
from tests.peers.tools import MakeFileSystem, Tool

MANIFEST = "/v2/private/image/manifests/v1"


def fetch(
    url: str, authority, form: dict[str, str] | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body."""
    data = urlencode(form).encode() if form else None
    request = urllib.request.Request(url, data, {"Accept": OCI_MANIFEST, **headers})
    context = ssl.create_default_context(cafile=str(authority.ca))
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def test_there_is_a_registry_with_images(docker_registry: Registry) -> None:
    with urllib.request.urlopen(f"{docker_registry.url}/v2/_catalog") as answer:
        assert json.load(answer)["repositories"]


def test_the_tls_registry_wants_a_password(tls_registry: Registry, authority) -> None:
    url = tls_registry.url + MANIFEST
    status, headers, _ = fetch(url, authority)
    assert (status, headers["Www-Authenticate"]) == (401, 'Basic realm="test"')
    assert fetch(url, authority, Authorization=basic("u", "wrong"))[0] == 401
    assert fetch(url, authority, Authorization=basic("u", "p"))[0] == 200


def test_the_token_registry_wants_a_token(
    token_registry: Registry, token_server: TokenServer, authority
) -> None:
    url = token_registry.url + MANIFEST
    status, headers, _ = fetch(url, authority)
    assert (status, headers["Www-Authenticate"].split(",")[0]) == (
        401,
        f'Bearer realm="{token_server.realm}"',
    )
    scope = "repository:private/image:pull"
    ask = f"{token_server.realm}?service={token_server.service}&scope={scope}"
    assert fetch(ask, authority, Authorization=basic("u", "wrong"))[0] == 401
    token = json.loads(fetch(ask, authority, Authorization=basic("u", "p"))[2])["token"]
    assert fetch(url, authority, Authorization=f"Bearer {token}")[0] == 200
    other = token_server.token("u", ["repository:other/image:pull"])
    assert fetch(url, authority, Authorization=f"Bearer {other}")[0] == 401
    assert token_server.requests[-1]["scope"] == [scope]


def test_an_identity_token_stands_for_a_password(token_server: TokenServer, authority) -> None:
    ask = f"{token_server.realm}?service={token_server.service}&offline_token=true&client_id=docker"
    identity = json.loads(fetch(ask, authority, Authorization=basic("u", "p"))[2])["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": identity, "service": token_server.service}
    answer = json.loads(fetch(token_server.realm, authority, form | {"scope": "repository:a/b:pull"})[2])
    assert answer["access_token"].count(".") == 2
    assert fetch(token_server.realm, authority, form | {"refresh_token": "other"})[0] == 401


def test_a_token_ends(token_registry: Registry, token_server: TokenServer, authority) -> None:
    token_server.expires_in = -120  # the registry allows for a minute between clocks
    token = token_server.token("u", ["repository:private/image:pull"])
    assert fetch(token_registry.url + MANIFEST, authority, Authorization=f"Bearer {token}")[0] == 401


@pytest.mark.dockerd
@pytest.mark.xdist_group("dockerd")
def test_dockerd_pulls_from_our_registry_runs_and_is_gone(tmp_path: Path) -> None:
    content = write_content(tmp_path / "layout")
    work = tmp_path / "work"
    with (
        serving(OCILayout(content.directory)) as mirror,
        Daemon(tmp_path / "docker", work, mirror=mirror) as dockerd,
    ):
        assert f"Digest: {content.index}\n" in dockerd.output("pull", "nginx:latest")
        assert dockerd.output("images", "-q", "--no-trunc").strip() == content.image_id
        shown = dockerd.output("run", "--rm", "--network", "none", "nginx", "/usr/sbin/nginx")
        assert shown == "Served by a few instructions made by hand.\n"
        pid = int((work / "d.pid").read_text())
    assert not Path(f"/proc/{pid}").exists()
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_a_small_file_system_gets_full(ext4_loop: MakeFileSystem) -> None:
    first, second = ext4_loop(8 << 20), ext4_loop(8 << 20)
    assert first.is_mount()
    assert second.is_mount()
    with pytest.raises(OSError) as caught, open(first / "large", "wb") as file:
        file.write(bytes(16 << 20))
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(second) == ["lost+found"]


def test_mounts_are_ours_alone(ext4_loop: MakeFileSystem) -> None:
    point = ext4_loop(8 << 20)
    assert str(point) in Path("/proc/self/mounts").read_text()
    assert str(point) not in Path("/proc/1/mounts").read_text()


def test_others_read_our_layouts(generated: Layout, skopeo: Tool, umoci: Tool, tmp_path) -> None:
    shown = json.loads(skopeo.output("inspect", f"oci:{generated.directory}:docker.io/library/twice:latest"))
    assert len(shown["Layers"]) == 3
    tags = umoci.output("list", "--layout", generated.directory).split()
    assert "docker.io/library/deep:latest" in tags
    assert len(OCILayout(generated.directory).repositories()) == len({tag.split(":")[0] for tag in tags})

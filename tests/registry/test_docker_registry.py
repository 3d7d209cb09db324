"""The real docker-registry: plain, with TLS and passwords, with tokens that expire."""

from __future__ import annotations

import json
import subprocess
import time
from urllib.request import urlopen

import pytest

from onggi.content.blobs import BlobStore
from onggi.oci.image_config import ImageConfig
from onggi.oci.manifest import Index, Manifest, parse_manifest
from onggi.oci.reference import Reference
from onggi.registry.errors import BadCredentials, ManifestUnknown, RepositoryUnknown

pytestmark = pytest.mark.xdist_group("docker-registry")


def pull_everything(world, reference: Reference, directory, cancel) -> list[str]:
    """Every document and blob of one image (of its first platform), verified; gives the digests."""
    repository = world.client().repository(reference)
    resolved = repository.resolve(reference, cancel)
    document = parse_manifest(resolved.raw, resolved.media_type)
    found = [str(resolved.digest)]
    while isinstance(document, Index):
        entry = next(item for item in document.manifests if item.platform and item.platform.os != "unknown")
        raw, media_type = repository.manifest(entry, cancel)
        document = parse_manifest(raw, media_type)
        found.append(str(entry.digest))
    assert isinstance(document, Manifest)
    config = ImageConfig.parse(repository.read_blob(document.config, 8 << 20, cancel))
    assert len(config.diff_ids) == len(document.layers)
    store = BlobStore(directory)
    for layer in document.layers:
        source = repository.blob(layer.digest, layer.size)
        path = store.download(
            layer,
            source,
            on_progress=lambda frontier: None,
            on_retry=lambda seconds: None,
            limiter=None,
            cancel=cancel,
        )
        assert path.stat().st_size == layer.size
        found.append(str(layer.digest))
    return found


def catalogue(url: str) -> list[str]:
    return json.load(urlopen(f"{url}/v2/_catalog"))["repositories"]


def test_every_image_of_a_plain_registry(world, docker_registry, tmp_path, cancel):
    names = catalogue(docker_registry.url)
    assert names
    for name in names:
        repository = Reference.parse(f"{docker_registry.host}/{name}")
        tags = list(world.client().repository(repository).tags(cancel))
        expected = json.load(urlopen(f"{docker_registry.url}/v2/{name}/tags/list"))["tags"]
        assert tags == expected
        digests = pull_everything(world, repository.with_tag(tags[0]), tmp_path / "blobs", cancel)
        again = Reference.parse(f"{docker_registry.host}/{name}@{digests[0]}")
        assert pull_everything(world, again, tmp_path / "blobs", cancel) == digests


def test_a_partial_blob_is_resumed(world, docker_registry, tmp_path, cancel):
    name = catalogue(docker_registry.url)[0]
    repository = world.client().repository(Reference.parse(f"{docker_registry.host}/{name}"))
    tag = next(iter(repository.tags(cancel)))
    reference = Reference.parse(f"{docker_registry.host}/{name}:{tag}")
    pull_everything(world, reference, tmp_path / "blobs", cancel)
    blob = max((tmp_path / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    whole = blob.read_bytes()
    blob.with_suffix(".partial").write_bytes(whole[: len(whole) // 2])
    blob.unlink()
    pull_everything(world, reference, tmp_path / "blobs", cancel)
    assert blob.read_bytes() == whole


def test_errors_are_dockers(world, docker_registry, cancel):
    known = catalogue(docker_registry.url)[0]
    for name, kind, text in [
        (
            f"{known}:no-such-tag",
            ManifestUnknown,
            f"manifest for {docker_registry.host}/{known}:no-such-tag not found: "
            "manifest unknown: manifest unknown",
        ),
        (
            "no/such:v1",
            ManifestUnknown,
            f"manifest for {docker_registry.host}/no/such:v1 not found: manifest unknown: manifest unknown",
        ),
    ]:
        reference = Reference.parse(f"{docker_registry.host}/{name}")
        with pytest.raises(kind) as caught:
            world.client().repository(reference).resolve(reference, cancel)
        assert str(caught.value) == text
    with pytest.raises(RepositoryUnknown) as caught:
        list(world.repository(docker_registry.host, "no/such").tags(cancel))
    assert str(caught.value) == (
        f"repository {docker_registry.host}/no/such not found: name unknown: "
        "repository name not known to registry"
    )


# --- TLS and a password ---------------------------------------------------------------------


def private(registry) -> Reference:
    return Reference.parse(f"{registry.host}/private/image:v1")


def test_tls_and_a_password(world, tls_registry, tmp_path, cancel):
    reference = private(tls_registry)
    with pytest.raises(BadCredentials) as caught:
        pull_everything(world, reference, tmp_path / "blobs", cancel)
    head = f'Head "{tls_registry.url}/v2/private/image/manifests/v1"'
    assert str(caught.value) == f"{head}: no basic auth credentials"
    with pytest.raises(BadCredentials) as caught:
        world.client().login(tls_registry.host, "u", "wrong")
    assert str(caught.value) == (
        f"login attempt to {tls_registry.url}/v2/ failed with status: 401 Unauthorized"
    )
    assert world.client().login(tls_registry.host, "u", "p").status == "Login Succeeded"
    assert pull_everything(world, reference, tmp_path / "blobs", cancel)
    assert list(world.repository(tls_registry.host, "private/image").tags(cancel)) == ["v1"]


def test_docker_and_onggi_read_each_others_config(world, tls_registry, tmp_path, cancel):
    """skopeo uses what we stored; we use what it stored."""
    world.client().login(tls_registry.host, "u", "p")
    ours = world.config.docker_config_dir / "config.json"
    inspect = ["skopeo", "inspect", "--raw", "--tls-verify=false", "--authfile"]
    target = f"docker://{private(tls_registry)}"
    subprocess.run([*inspect, str(ours), target], check=True, capture_output=True)
    ours.unlink()
    login = ["skopeo", "login", "--tls-verify=false", "--authfile", str(ours), "-u", "u", "-p", "p"]
    subprocess.run([*login, tls_registry.host], check=True, capture_output=True)
    assert pull_everything(world, private(tls_registry), tmp_path / "blobs", cancel)


# --- tokens ---------------------------------------------------------------------------------


def test_tokens(world, token_registry, token_server, tmp_path, cancel):
    with pytest.raises(Exception, match="denied: requested access to the resource is denied"):
        pull_everything(world, private(token_registry), tmp_path / "blobs", cancel)
    world.client().login(token_registry.host, "u", "p")
    assert token_server.requests[-1] == {
        "account": ["u"],
        "client_id": ["docker"],
        "offline_token": ["true"],
        "service": [token_server.service],
    }
    assert pull_everything(world, private(token_registry), tmp_path / "blobs", cancel)
    assert token_server.requests[-1]["scope"] == ["repository:private/image:pull"]


def test_a_token_that_expires_while_we_work_is_renewed(world, token_registry, token_server, cancel):
    world.client().login(token_registry.host, "u", "p")
    token_server.requests.clear()
    # docker-registry allows clocks a minute of difference: this token lives for a second.
    token_server.expires_in = -59
    reference = private(token_registry)
    repository = world.client().repository(reference)
    resolved = repository.resolve(reference, cancel)
    time.sleep(2)
    assert repository.manifest(resolved.digest, cancel)[0] == resolved.raw
    assert len(token_server.requests) == 2

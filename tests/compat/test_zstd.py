"""zstd layers, which dockerd 20.10 cannot read: skopeo inflates them, umoci unpacks them, as oracles."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tests.peers.fixtures import Onggi
from tests.peers.images import Layout
from tests.peers.registries import Registry
from tests.peers.tools import Tool
from tests.tree.trees import Entry, snapshot


def inflated(skopeo: Tool, source: str, directory: Path) -> Path:
    """The image as skopeo stores it after inflating its layers: an OCI layout without zstd."""
    plain = directory / "plain"
    tls = ["--src-tls-verify=false"] if source.startswith("docker:") else []
    skopeo.run("copy", "-q", "--dest-decompress", *tls, source, f"dir:{plain}")
    skopeo.run("copy", "-q", f"dir:{plain}", f"oci:{directory / 'oci'}:image")
    return plain


def by_umoci(umoci: Tool, directory: Path) -> dict[bytes, Entry]:
    """The tree that umoci unpacks."""
    bundle = directory / "bundle"
    umoci.run("unpack", "--image", f"{directory / 'oci'}:image", bundle)
    return snapshot(bundle / "rootfs")


def by_onggi(onggi: Onggi, image: str, directory: Path) -> dict[bytes, Entry]:
    """The same image's mounted stack."""
    point = directory / "mount"
    point.mkdir()
    onggi.run("image", "mount", image, str(point))
    try:
        return snapshot(point)
    finally:
        onggi.run("image", "unmount", str(point))


def assert_inflated_to(diff_ids: list[str], plain: Path) -> None:
    """skopeo's inflated blobs are the tars that Onggi's diffIDs name."""
    manifest = json.loads((plain / "manifest.json").read_bytes())
    for diff_id, layer in zip(diff_ids, manifest["layers"], strict=True):
        blob = plain / layer["digest"].removeprefix("sha256:")
        assert "sha256:" + hashlib.sha256(blob.read_bytes()).hexdigest() == diff_id


def diff_ids(onggi: Onggi, image: str) -> list[str]:
    return json.loads(onggi.output("inspect", image))[0]["RootFS"]["Layers"]


# Where Docker, and so Onggi, differs from umoci: a time before 1970 becomes 0, and a directory that a
# layer only implies takes 0755 and the time of unpacking, whatever a layer below says of it.
AS_DOCKER = {b"old", b"d", b"d/sub"}


def differing(ours: dict[bytes, Entry], theirs: dict[bytes, Entry]) -> set[bytes]:
    """The paths that are not equal; the root, which no member sets, aside."""
    assert ours.keys() == theirs.keys()
    return {path for path in ours if path and ours[path] != theirs[path]}


def test_a_generated_image(onggi: Onggi, generated: Layout, skopeo: Tool, umoci: Tool, tmp_path) -> None:
    plain = inflated(skopeo, f"oci:{generated.directory}:docker.io/library/zstd:latest", tmp_path)
    onggi.run("pull", "zstd")
    assert_inflated_to(diff_ids(onggi, "zstd"), plain)
    theirs, ours = by_umoci(umoci, tmp_path), by_onggi(onggi, "zstd", tmp_path)
    assert differing(ours, theirs) == AS_DOCKER


def test_a_real_image(real_registry: Registry | None, skopeo: Tool, umoci: Tool, tmp_path: Path) -> None:
    if real_registry is None:
        return
    config = tmp_path / "daemon.json"
    config.write_text(json.dumps({"registry-mirrors": [real_registry.url]}))
    onggi = Onggi(tmp_path / "onggi", config)
    plain = inflated(skopeo, f"docker://{real_registry.host}/oci/busybox:zstd", tmp_path)
    onggi.run("pull", "oci/busybox:zstd")
    assert_inflated_to(diff_ids(onggi, "oci/busybox:zstd"), plain)
    theirs, ours = by_umoci(umoci, tmp_path), by_onggi(onggi, "oci/busybox:zstd", tmp_path)
    assert len(ours) > 100
    assert not differing(ours, theirs)

"""Media types: which kind is which."""

from __future__ import annotations

import pytest

from onggi.oci import media_types


def test_what_a_pull_asks_for() -> None:
    """docker-engine §2.5: six lines, schema 1 among them, so that a refusal can be explained."""
    assert sorted(media_types.ACCEPTED_MANIFESTS) == [
        "application/json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
    ]


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("application/vnd.docker.distribution.manifest.v2+json", "manifest"),
        ("application/vnd.oci.image.manifest.v1+json", "manifest"),
        ("application/vnd.docker.distribution.manifest.list.v2+json", "index"),
        ("application/vnd.oci.image.index.v1+json", "index"),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", "schema1"),
        ("application/vnd.docker.distribution.manifest.v1+json", "schema1"),
        ("application/json", ""),
        ("", ""),
    ],
)
def test_documents(media_type: str, kind: str) -> None:
    found = {
        "manifest": media_types.is_manifest(media_type),
        "index": media_types.is_index(media_type),
        "schema1": media_types.is_schema1(media_type),
    }
    assert [name for name, fits in found.items() if fits] == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("media_type", "config", "layer", "foreign", "model"),
    [
        ("application/vnd.docker.container.image.v1+json", True, True, False, False),
        ("application/vnd.oci.image.config.v1+json", True, True, False, False),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", False, True, False, False),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", False, True, True, False),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", False, True, True, False),
        ("application/vnd.oci.image.layer.v1.tar+zstd", False, True, False, False),
        ("application/octet-stream", True, True, False, False),
        ("text/html", True, True, False, False),
        ("", True, True, False, False),
        ("application/vnd.oci.imagelayer", False, False, False, False),
        ("application/vnd.oci.empty.v1+json", False, False, False, False),
        ("application/vnd.docker.ai.gguf.v3", False, True, False, True),
        ("application/VND.Docker.AI.gguf.v3", False, False, False, True),
    ],
)
def test_contents(media_type: str, config: bool, layer: bool, foreign: bool, model: bool) -> None:
    assert media_types.is_config(media_type) is config
    assert media_types.is_layer(media_type) is layer
    assert media_types.is_foreign_layer(media_type) is foreign
    assert media_types.is_model(media_type) is model


def test_classes() -> None:
    assert media_types.config_class("application/vnd.docker.plugin.v1+json") == "plugin"
    assert media_types.config_class("application/vnd.oci.empty.v1+json") == "unknown"

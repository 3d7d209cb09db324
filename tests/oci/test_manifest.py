"""Manifests and indexes: what is read, what is refused and in which words."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.errors import DataLoss, Unsupported
from onggi.oci import media_types
from onggi.oci.digest import Digest
from onggi.oci.manifest import (
    MAX_MANIFEST_BYTES,
    ForeignLayer,
    Index,
    InvalidManifest,
    Manifest,
    Schema1,
    UnsupportedMediaType,
    parse_manifest,
)
from onggi.oci.platform import Platform

CONFIG = Digest.of(b"config")
LAYER = Digest.of(b"layer")
ENTRY = Digest.of(b"entry")


def descriptor(media_type: str, digest: str, size: object = 1, **more: object) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size, **more}


def manifest(**changes: object) -> dict[str, Any]:
    """A Docker manifest with one layer, then ``changes``; None removes a key."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_types.DOCKER_MANIFEST,
        "config": descriptor(media_types.DOCKER_CONFIG, CONFIG, 7023),
        "layers": [descriptor(media_types.DOCKER_LAYER_GZIP, LAYER, 32654)],
    }
    return {key: value for key, value in (document | changes).items() if value is not None}


def index(**changes: object) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [descriptor(media_types.OCI_MANIFEST, ENTRY, 500)],
    }
    return {key: value for key, value in (document | changes).items() if value is not None}


def parse(document: object, media_type: str | None = None) -> Manifest | Index:
    return parse_manifest(json.dumps(document).encode(), media_type)


def parse_one(document: object, media_type: str | None = None) -> Manifest:
    parsed = parse(document, media_type)
    assert isinstance(parsed, Manifest)
    return parsed


def parse_entry(**fields: object) -> Any:
    """The one entry of an index."""
    parsed = parse(index(manifests=[descriptor(media_types.OCI_MANIFEST, ENTRY, 500, **fields)]))
    assert isinstance(parsed, Index)
    return parsed.manifests[0]


def refusal(document: object, media_type: str | None = None) -> str:
    with pytest.raises(InvalidManifest) as caught:
        parse(document, media_type)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value.message.removeprefix("invalid manifest: ")


# --- what is read -----------------------------------------------------------------------------


def test_a_manifest() -> None:
    raw = json.dumps(manifest(), indent=3).encode()
    parsed = parse_manifest(raw, media_types.DOCKER_MANIFEST)
    assert isinstance(parsed, Manifest)
    assert parsed.raw == raw
    assert parsed.digest == "sha256:" + hashlib.sha256(raw).hexdigest()
    assert parsed.media_type == media_types.DOCKER_MANIFEST
    assert (parsed.config.media_type, parsed.config.digest, parsed.config.size) == (
        media_types.DOCKER_CONFIG,
        CONFIG,
        7023,
    )
    assert [(layer.digest, layer.size) for layer in parsed.layers] == [(LAYER, 32654)]
    assert parsed.layers[0].platform is None


def test_an_index() -> None:
    entries = [
        descriptor(media_types.OCI_MANIFEST, CONFIG, 1, platform={"os": "linux", "architecture": "amd64"}),
        descriptor(media_types.OCI_MANIFEST, LAYER, 2, annotations={"vnd.docker.reference.type": "x"}),
    ]
    parsed = parse(index(manifests=entries), media_types.OCI_INDEX)
    assert isinstance(parsed, Index)
    assert [entry.digest for entry in parsed.manifests] == [CONFIG, LAYER]
    assert [entry.platform for entry in parsed.manifests] == [Platform("linux", "amd64"), None]
    assert parsed.manifests[1].annotations == {"vnd.docker.reference.type": "x"}


def test_a_whole_platform() -> None:
    platform = {
        "os": "windows",
        "architecture": "arm",
        "variant": "v7",
        "os.version": "10.0.17763",
        "os.features": ["win32k"],
    }
    expected = Platform("windows", "arm", "v7", "10.0.17763", ("win32k",))
    assert parse_entry(platform=platform).platform == expected
    assert parse_entry(platform={"OS": "linux", "Architecture": "386"}).platform == Platform("linux", "386")
    assert parse_entry(platform={}).platform is None
    assert parse_entry(platform=None).platform is None


@pytest.mark.parametrize("empty", [{"layers": []}, {"layers": None}])
def test_an_image_may_have_no_layers(empty: dict[str, object]) -> None:
    assert parse_one(manifest(**empty)).layers == ()


@pytest.mark.parametrize(
    ("document", "served", "kind"),
    [
        (manifest(mediaType=None), media_types.DOCKER_MANIFEST, media_types.DOCKER_MANIFEST),
        (manifest(mediaType=None), f"{media_types.OCI_MANIFEST}; charset=utf-8", media_types.OCI_MANIFEST),
        (manifest(mediaType=None), "application/json", media_types.OCI_MANIFEST),
        (manifest(mediaType=None), None, media_types.OCI_MANIFEST),
        (manifest(mediaType=""), None, media_types.OCI_MANIFEST),
        (manifest(), "text/plain", media_types.DOCKER_MANIFEST),
        (manifest(), None, media_types.DOCKER_MANIFEST),
        (index(mediaType=None), None, media_types.OCI_INDEX),
        (index(mediaType=None), media_types.DOCKER_LIST, media_types.DOCKER_LIST),
        (index(mediaType=media_types.DOCKER_LIST), "", media_types.DOCKER_LIST),
    ],
)
def test_the_media_type(document: object, served: str | None, kind: str) -> None:
    assert parse(document, served).media_type == kind


@pytest.mark.parametrize(
    "media_type",
    [
        media_types.DOCKER_CONFIG,
        media_types.OCI_CONFIG,
        "application/octet-stream",
        "application/json",
        "text/html",
        "",
    ],
)
def test_configs_docker_accepts(media_type: str) -> None:
    config = descriptor(media_type, CONFIG)
    assert parse_one(manifest(config=config)).config.media_type == media_type


@pytest.mark.parametrize(
    "media_type",
    [
        media_types.DOCKER_LAYER_GZIP,
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker",
        "application/octet-stream",
        "",
    ],
)
def test_layers_docker_accepts(media_type: str) -> None:
    layers = [descriptor(media_type, LAYER)]
    assert parse_one(manifest(layers=layers)).layers[0].media_type == media_type


def test_keys_fit_whatever_their_case_as_go_reads_them() -> None:
    config = {"MediaType": media_types.OCI_CONFIG, "Digest": CONFIG, "SIZE": 3}
    parsed = parse_one({"SchemaVersion": 2, "CONFIG": config, "Layers": []})
    assert (parsed.config.digest, parsed.config.size) == (CONFIG, 3)


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "JSON: not an object"),
        ({}, "schemaVersion is not 2"),
        (manifest(schemaVersion="2"), "schemaVersion is not 2"),
        (manifest(schemaVersion=2.0), "schemaVersion is not 2"),
        (manifest(schemaVersion=3), "schemaVersion is not 2"),
        (manifest(schemaVersion=True), "schemaVersion is not 2"),
        (manifest(mediaType=5), "mediaType is not a string"),
        (manifest(manifests=[]), "it has both layers and manifests"),
        (manifest(Manifests=[]), "it has both layers and manifests"),
        (index(layers=[]), "it has both layers and manifests"),
        (index(config={}), f"it is {media_types.OCI_INDEX} and has config"),
        (
            index(mediaType=media_types.DOCKER_MANIFEST),
            f"it is {media_types.DOCKER_MANIFEST} and has manifests",
        ),
        (manifest(mediaType=media_types.OCI_INDEX), f"it is {media_types.OCI_INDEX} and has config"),
        (manifest(config=None), "config: a descriptor is missing"),
        (manifest(config=[]), "config: not an object"),
        (manifest(layers={}), "layers is not a list"),
        (manifest(layers=[None]), "layers: a descriptor is missing"),
        (manifest(layers=["x"]), "layers: not an object"),
        (manifest(layers=[{}] * 5000), "5000 layers are more than 4096"),
        (index(manifests=[{}] * 5000), "5000 manifests are more than 4096"),
        (index(manifests=7), "manifests is not a list"),
        (manifest(Layers=[]), "JSON: layers is given twice"),
        (manifest(config=descriptor("", CONFIG, Size=2)), "config: size is given twice"),
    ],
)
def test_what_is_no_manifest(document: object, reason: str) -> None:
    assert refusal(document) == reason


@pytest.mark.parametrize("size", [-1, 2**63, "5", 5.0, None, True, [], 1e300])
def test_sizes(size: object) -> None:
    layers = [descriptor(media_types.DOCKER_LAYER_GZIP, LAYER, size)]
    assert refusal(manifest(layers=layers)) == "layers: size is not a number of bytes"
    largest = [descriptor(media_types.DOCKER_LAYER_GZIP, LAYER, 2**63 - 1)]
    assert parse_one(manifest(layers=largest)).layers[0].size == 2**63 - 1


@pytest.mark.parametrize(
    ("digest", "reason"),
    [
        ("sha256:" + "0" * 63, "invalid checksum digest length"),
        ("sha256:" + "A" * 64, "invalid checksum digest format"),
        ("sha256:../../../etc/passwd", "invalid checksum digest length"),
        ("md5:" + "0" * 32, "unsupported digest algorithm"),
        ("", "invalid checksum digest format"),
        (None, "invalid checksum digest format"),
    ],
)
def test_digests_are_checked_before_anything_uses_them_as_a_path(digest: Any, reason: str) -> None:
    assert refusal(manifest(config=descriptor(media_types.OCI_CONFIG, digest))) == f"config: {reason}"
    assert refusal(index(manifests=[descriptor("", digest)])) == f"manifests: {reason}"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"mediaType": 1}, "manifests: mediaType is not a string"),
        ({"digest": 1}, "manifests: digest is not a string"),
        ({"annotations": []}, "manifests: annotations is not an object of strings"),
        ({"annotations": {"a": 1}}, "manifests: annotations is not an object of strings"),
        ({"urls": "x"}, "manifests: urls is not a list of strings"),
        ({"urls": [1]}, "manifests: urls is not a list of strings"),
        ({"platform": "linux"}, "manifests: platform: not an object"),
        ({"platform": {"os": 1}}, "manifests: platform: os is not a string"),
        ({"platform": {"os.features": "x"}}, "manifests: platform: os.features is not a list of strings"),
        ({"platform": {"os": "a", "OS": "b"}}, "manifests: platform: os is given twice"),
    ],
)
def test_the_other_fields_of_a_descriptor(fields: dict[str, Any], reason: str) -> None:
    entry = descriptor(media_types.OCI_MANIFEST, ENTRY) | fields
    assert refusal(index(manifests=[entry])) == reason


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"[" * 100_000,
        b'{"schemaVersion":NaN}',
        b'\xef\xbb\xbf{"schemaVersion":2}',
        '{"schemaVersion":2}'.encode("utf-16"),
        b'{"schemaVersion":1' + b"0" * 5000 + b"}",
    ],
)
def test_what_is_no_json(raw: bytes) -> None:
    with pytest.raises(InvalidManifest, match=r"^invalid manifest: JSON: .+$"):
        parse_manifest(raw)


def test_a_key_given_twice_anywhere() -> None:
    raw = json.dumps(manifest()).encode()
    twice = raw.replace(b'"size": 7023', b'"size": 7023, "size": 7023')
    with pytest.raises(InvalidManifest, match="'size' is given twice"):
        parse_manifest(twice)


def test_the_limit_of_size() -> None:
    raw = json.dumps(manifest()).encode()
    parse_manifest(raw.ljust(MAX_MANIFEST_BYTES))
    with pytest.raises(InvalidManifest, match="4194305 bytes are more than 4194304"):
        parse_manifest(raw.ljust(MAX_MANIFEST_BYTES + 1))


@pytest.mark.parametrize(
    ("document", "served"),
    [
        (manifest(), media_types.OCI_MANIFEST),
        (manifest(), media_types.OCI_INDEX),
        (index(), media_types.DOCKER_MANIFEST),
        (index(), media_types.DOCKER_LIST),
    ],
)
def test_a_body_that_contradicts_its_content_type(document: dict[str, Any], served: str) -> None:
    expected = f"its mediaType {document['mediaType']} contradicts the Content-Type {served}"
    assert refusal(document, served) == expected


def test_content_of_the_other_kind_than_served() -> None:
    """CVE-2021-41190: the same bytes, two meanings."""
    served = media_types.DOCKER_MANIFEST
    assert refusal(index(mediaType=None), served) == f"it is {served} and has manifests"


@pytest.mark.parametrize(
    ("document", "served"),
    [
        ({"schemaVersion": 1, "name": "x", "fsLayers": []}, None),
        (manifest(), media_types.DOCKER_SCHEMA1),
        ({}, "application/vnd.docker.distribution.manifest.v1+json"),
    ],
)
def test_schema_1(document: object, served: str | None) -> None:
    with pytest.raises(Schema1, match="schema 1 support has been removed") as caught:
        parse(document, served)
    assert isinstance(caught.value, Unsupported)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("media_type", "urls"),
    [
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", ["https://mcr.example/x"]),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", None),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", []),
        (media_types.DOCKER_LAYER_GZIP, ["https://elsewhere.example/x"]),
    ],
)
def test_foreign_layers(media_type: str, urls: list[str] | None) -> None:
    layers = [
        descriptor(media_types.DOCKER_LAYER_GZIP, CONFIG),
        descriptor(media_type, LAYER, urls=urls),
    ]
    with pytest.raises(ForeignLayer) as caught:
        parse(manifest(layers=layers))
    assert caught.value.digest == LAYER
    assert isinstance(caught.value, Unsupported)


@pytest.mark.parametrize(
    ("media_type", "reason"),
    [
        (
            "application/vnd.docker.plugin.v1+json",
            'Encountered remote "application/vnd.docker.plugin.v1+json"(plugin) when fetching',
        ),
        (
            "application/vnd.oci.empty.v1+json",
            'Encountered remote "application/vnd.oci.empty.v1+json"(unknown) when fetching',
        ),
        ("x\x1b[31m", r'Encountered remote "x\x1b[31m"(unknown) when fetching'),
        (
            "application/vnd.docker.ai.model.config.v0.1+json",
            "AI models are not supported by the Engine yet, "
            'did you mean to use "docker model pull/run" instead?',
        ),
    ],
)
def test_configs_of_what_is_no_image(media_type: str, reason: str) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        parse(manifest(config=descriptor(media_type, CONFIG)))
    assert caught.value.message == reason
    assert caught.value.media_type == media_type


@pytest.mark.parametrize(
    "media_type",
    ["application/vnd.cncf.helm.chart.content.v1.tar+gzip", "application/vnd.oci.imagery", "application/x"],
)
def test_layers_of_what_is_no_image(media_type: str) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        parse(manifest(layers=[descriptor(media_type, LAYER)]))
    assert caught.value.message == f"unsupported media type {media_type}"


def test_documents_of_other_kinds() -> None:
    artifact = "application/vnd.oci.artifact.manifest.v1+json"
    with pytest.raises(UnsupportedMediaType) as caught:
        parse({"schemaVersion": 2, "mediaType": artifact})
    assert caught.value.message == f"unsupported manifest media type {artifact}"


# --- hostile input ----------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)
FIELDS = ["config", "layers", "manifests", "mediaType", "Config", "schemaVersion"]
DESCRIPTORS = st.fixed_dictionaries(
    {"digest": st.just(LAYER), "size": st.integers(0, 10)},
    optional={"mediaType": JSON, "platform": JSON, "annotations": JSON, "urls": JSON},
)


@given(
    st.sampled_from([manifest(), index()]),
    st.dictionaries(st.sampled_from(FIELDS), JSON | st.lists(DESCRIPTORS, max_size=3), max_size=3),
    st.sampled_from([None, media_types.OCI_MANIFEST, media_types.OCI_INDEX, "text/html"]),
)
def test_any_change_is_read_or_refused(
    document: dict[str, Any], changes: dict[str, Any], served: str | None
) -> None:
    raw = json.dumps(document | changes).encode()
    try:
        parsed = parse_manifest(raw, served)
    except (DataLoss, Unsupported) as error:
        assert "\n" not in error.message
    else:
        assert parsed.raw == raw


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises((InvalidManifest, Schema1)):
        parse_manifest(raw)

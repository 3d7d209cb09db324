"""Media types of manifests, configs and layers."""

from __future__ import annotations

__all__ = [
    "ACCEPTED_MANIFESTS",
    "DOCKER_CONFIG",
    "DOCKER_LAYER_GZIP",
    "DOCKER_LIST",
    "DOCKER_MANIFEST",
    "DOCKER_SCHEMA1",
    "OCI_CONFIG",
    "OCI_INDEX",
    "OCI_LAYER",
    "OCI_MANIFEST",
    "config_class",
    "is_config",
    "is_foreign_layer",
    "is_index",
    "is_layer",
    "is_manifest",
    "is_model",
    "is_schema1",
]

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

# What the pull asks for; sent as separate Accept lines (docker-engine §2.5).
ACCEPTED_MANIFESTS = (
    DOCKER_MANIFEST,
    DOCKER_LIST,
    OCI_INDEX,
    OCI_MANIFEST,
    DOCKER_SCHEMA1,
    "application/json",
)

_DOCKER_PLUGIN = "application/vnd.docker.plugin.v1+json"
_DOCKER_MODEL = "application/vnd.docker.ai."
_SCHEMA1_UNSIGNED = "application/vnd.docker.distribution.manifest.v1+json"
# Types that odd registries give to configs and layers; Docker lets them pass.
_ODD = frozenset({"application/octet-stream", "application/json", "text/html", ""})


def is_index(media_type: str) -> bool:
    """True for a manifest list or an OCI index."""
    return media_type in (DOCKER_LIST, OCI_INDEX)


def is_manifest(media_type: str) -> bool:
    """True for the manifest of one image."""
    return media_type in (DOCKER_MANIFEST, OCI_MANIFEST)


def is_schema1(media_type: str) -> bool:
    """True for the manifests of before 2016."""
    return media_type in (DOCKER_SCHEMA1, _SCHEMA1_UNSIGNED)


def is_config(media_type: str) -> bool:
    """True for types Docker takes for an image config."""
    return media_type in _ODD or media_type in (DOCKER_CONFIG, OCI_CONFIG)


def config_class(media_type: str) -> str:
    """Docker's word for what a config describes that is no image."""
    return "plugin" if media_type == _DOCKER_PLUGIN else "unknown"


def is_model(media_type: str) -> bool:
    """True for the files of an AI model, which Docker keeps in image repositories too."""
    return media_type.lower().startswith(_DOCKER_MODEL)


def is_layer(media_type: str) -> bool:
    """True for types Docker takes for a layer."""
    if media_type in _ODD:
        return True
    families = ("application/vnd.oci.image", "application/vnd.docker")
    return any(media_type == family or media_type.startswith(family + ".") for family in families)


def is_foreign_layer(media_type: str) -> bool:
    """True for layers that registries must not hold (Windows base layers)."""
    return ".foreign." in media_type or ".nondistributable." in media_type

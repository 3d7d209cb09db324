"""The images of before Docker 1.10, which ``save`` still writes: one a layer, with ids of their own.

An id is the sha256 of the image's JSON, keys sorted, with ``layer_id`` (the chainID) and
``parent`` added and ``id`` left out (docker-engine §8.8).
"""

from __future__ import annotations

import hashlib

from onggi.oci.container_config import complete_config
from onggi.oci.digest import ChainID
from onggi.oci.go_json import dump
from onggi.oci.image_config import ImageConfig
from onggi.oci.timestamps import ZERO_TIME, normalise
from onggi.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["V1Image", "v1_fields", "v1_images"]

_EPOCH = "1970-01-01T00:00:00Z"


@record
class V1Image:
    """``id`` is 64 hexadecimal digits; ``json`` is the file of that name."""

    id: str
    json: bytes


def v1_images(config: ImageConfig, compat: str) -> list[V1Image]:
    """The old images of a new one, base first; only the top one knows more than its layer."""
    images: list[V1Image] = []
    for chain in config.chain_ids:
        top = len(images) == len(config.chain_ids) - 1
        fields = (
            v1_fields(config, compat) if top else {"created": _EPOCH, "container_config": complete_config({})}
        )
        images.append(_image(fields, chain, images[-1].id if images else "", config, compat))
    return images


def _image(fields: dict[str, Any], chain: ChainID, parent: str, config: ImageConfig, compat: str) -> V1Image:
    hashed = {**fields, "layer_id": chain}
    if parent:
        hashed["parent"] = f"sha256:{parent}"
    digest = hashlib.sha256(dump(dict(sorted(hashed.items())), compat=compat)).hexdigest()
    document: dict[str, Any] = {"id": digest}
    if parent:
        document["parent"] = parent
    document |= fields
    if config.os:
        document["os"] = config.os
    return V1Image(digest, dump(document, compat=compat))


def v1_fields(config: ImageConfig, compat: str) -> dict[str, Any]:
    """Docker's V1Image in declaration order, what is empty left out."""
    document = config.document
    created = normalise(config.created)
    if created is None and compat == "20.10":
        created = ZERO_TIME
    container = document.get("container_config") or {}
    fields = (
        ("comment", config.comment),
        ("created", created),
        ("container", document.get("container")),
        ("container_config", complete_config(container, compat)),
        ("docker_version", config.docker_version),
        ("author", config.author),
        ("config", complete_config(config.config, compat) if document.get("config") is not None else None),
        ("architecture", config.architecture),
        ("variant", config.variant),
        ("os", config.os),
    )
    return {key: value for key, value in fields if value}

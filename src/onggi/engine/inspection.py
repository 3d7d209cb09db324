"""``docker image inspect``: the same keys in the same order (docker-engine §8.3).

Two shapes: API 1.41 (``compat="20.10"``) and API 1.50 (``compat="28"``), which dropped
``VirtualSize``, ``Container``, ``ContainerConfig`` and the container-only half of
``Config``.
"""

from __future__ import annotations

from collections.abc import Mapping

from onggi.engine.core import Core
from onggi.oci.container_config import complete_config
from onggi.oci.timestamps import ZERO_TIME, normalise

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from typing import Any

    from onggi.engine.image import Image

__all__ = ["inspect_image"]

# The OCI image config with Docker's extensions, all left out when empty.
_CONFIG_1_50 = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "ArgsEscaped",
    "Healthcheck",
    "OnBuild",
    "Shell",
)


def inspect_image(core: Core, image: Image) -> dict[str, Any]:
    """The object; nested Docker structs keep their declaration order, maps are sorted as Go sorts them."""
    old = core.config.compat == "20.10"
    config = image.config
    document = config.document
    result: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": image.tags,
        "RepoDigests": image.digests,
        "Parent": image.parent or "",
        "Comment": _comment(image),
    }
    created = normalise(config.created)
    if old or created is not None:
        result["Created"] = created or ZERO_TIME
    if old:
        result["Container"] = document.get("container") or ""
        result["ContainerConfig"] = complete_config(document.get("container_config") or {})
    result["DockerVersion"] = config.docker_version
    result["Author"] = config.author
    result["Config"] = _image_config(config.document.get("config"), old=old)
    result["Architecture"] = config.architecture
    if config.variant:
        result["Variant"] = config.variant
    result["Os"] = config.os
    if config.os_version:
        result["OsVersion"] = config.os_version
    size = image.size
    result["Size"] = size
    if old:
        result["VirtualSize"] = size
    result["GraphDriver"] = {"Data": _graph_data(core, image), "Name": core.driver.name}
    result["RootFS"] = _rootfs(image)
    result["Metadata"] = {"LastTagTime": image.last_tagged or ZERO_TIME}
    return result


def _comment(image: Image) -> str:
    if image.config.comment:
        return image.config.comment
    return image.config.history[-1].comment if image.config.history else ""


def _graph_data(core: Core, image: Image) -> dict[str, str] | None:
    layers = image.layers
    return core.driver.graph_data(layers[-1].cache_id) if layers else None


def _rootfs(image: Image) -> dict[str, Any]:
    diff_ids = list(image.config.diff_ids)
    return {"Type": "layers", "Layers": diff_ids} if diff_ids else {"Type": "layers"}


def _image_config(config: object, *, old: bool) -> dict[str, Any] | None:
    if not isinstance(config, Mapping):
        return None
    if old:
        return complete_config(config)
    return {key: _sorted(config[key]) for key in _CONFIG_1_50 if config.get(key)}


def _sorted(value: Any) -> Any:
    return dict(sorted(value.items())) if isinstance(value, Mapping) else value

"""What a supervisor executes when a container ends that is to be removed (``run -d --rm``)."""

from __future__ import annotations

import json

from onggi.config import Config
from onggi.engine.core import Core

__all__ = ["main"]


def main(argument: str) -> None:
    """Remove the container that ``argument`` names: JSON of ``settings`` (Config's) and ``id``."""
    from onggi.engine.containers.removal import remove_container
    from onggi.engine.networks.attaching import ContainerNetworks

    given = json.loads(argument)
    core = Core.open(Config.load(given["settings"], environ={}))
    with core.writing():
        remove_container(core, ContainerNetworks(core), given["id"], force=True)

"""Onggi: a Docker-compatible container image engine you can hold in your hands.

>>> import onggi
>>> engine = onggi.open(data_root="/var/lib/onggi")
>>> image = engine.images.pull("nginx:latest")
>>> image.layers[0].chain_id, image.layers[0].path
>>> with image.mount() as root:
...     (root / "etc/os-release").read_text()

Everything public is typed; errors derive from :class:`onggi.errors.OnggiError`.
"""

from __future__ import annotations

from onggi.version import __version__

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

    from onggi.cancel import CancelToken as CancelToken
    from onggi.config import Config as Config
    from onggi.engine.engine import Engine as Engine
    from onggi.engine.image import Image as Image
    from onggi.engine.image import Layer as Layer
    from onggi.errors import OnggiError as OnggiError

__all__ = ["CancelToken", "Config", "Engine", "Image", "Layer", "OnggiError", "__version__", "open"]

# Imported when first asked for: `import onggi` alone costs next to nothing.
_EXPORTS = {
    "CancelToken": "onggi.cancel",
    "Config": "onggi.config",
    "Engine": "onggi.engine.engine",
    "Image": "onggi.engine.image",
    "Layer": "onggi.engine.image",
    "OnggiError": "onggi.errors",
}


def open(
    data_root: str | PathLike[str] | None = None, *, config: Config | None = None, **settings: Any
) -> Engine:
    """Open an engine on a data root.

    ``settings`` are those of :class:`~onggi.config.Config`; they win over the environment
    and ``daemon.json``. With ``config`` nothing else is read. Opening makes no files.
    """
    from onggi.config import Config
    from onggi.engine.engine import Engine

    if config is None:
        if data_root is not None:
            settings["data_root"] = data_root
        config = Config.load(settings)
    return Engine(config)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_EXPORTS[name]), name)

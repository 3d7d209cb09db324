"""A data root on its way from one storage driver to another.

::

    R/onggi/
    ├── converting/<driver>/   what becomes R/image/<driver>, whole, by one rename
    └── storage-driver         which driver is meant where two hold images: the one converted to

The new layers stand in ``R/<driver>/`` meanwhile, where nobody looks for them: until the rename
the root is the old driver's, behind it the new one's. ``storage-driver`` is written before; it
has no meaning as long as only one driver holds images.
"""

from __future__ import annotations

import os
from pathlib import Path

from onggi.store.atomic import make_directory, read_optional, sync_directory, write_file
from onggi.store.layout import Layout

__all__ = ["LayoutApart", "chosen_driver", "convertings", "publish"]


class LayoutApart(Layout):
    """The layout of the driver to be, its ``image`` directory apart."""

    __slots__ = ()

    @property
    def image(self) -> Path:
        """``R/onggi/converting/<driver>``."""
        return self.own / "converting" / self.driver

    def create(self) -> None:
        """Make the tree; idempotent."""
        make_directory(self.own, 0o700)
        make_directory(self.own / "converting", 0o700)
        super().create()


def _choice_file(root: Path) -> Path:
    return root / "onggi" / "storage-driver"


def chosen_driver(root: Path) -> str:
    """The driver that the root was last converted to, or an empty string."""
    return (read_optional(_choice_file(root)) or b"").decode("ascii", "replace").strip()


def convertings(root: Path) -> list[str]:
    """Drivers to which a conversion was begun and not finished."""
    try:
        return sorted(os.listdir(root / "onggi" / "converting"))
    except FileNotFoundError:
        return []


def publish(apart: LayoutApart) -> None:
    """Let the new driver's metadata appear, by one rename; ``R/image/<driver>`` must not exist.

    Everything below must be durable.
    """
    write_file(_choice_file(apart.root), apart.driver.encode("ascii"), 0o600)
    final = Layout(apart.root, apart.driver).image
    os.rename(apart.image, final)
    sync_directory(final.parent)

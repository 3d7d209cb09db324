"""Which storage driver a data root gets, and why.

A root that holds images keeps the driver they were stored with, whatever the host can do by now:
images never disappear behind a switch; one that is empty by now keeps it unless told. A new root
gets the driver that is asked for; ``auto`` asks for the best that a trial proves to work there;
and without a word root gets overlay2, since a dockerd can take such a root over, everybody else
erofs, which needs no privilege.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from onggi.record import record
from onggi.store.dataroot import open_layout, populated_drivers
from onggi.store.layout import Layout

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.drivers.erofs import Erofs
    from onggi.drivers.overlay2 import Overlay2

__all__ = ["AUTO", "DRIVERS", "Choice", "choose", "open_driver"]

AUTO = "auto"
DRIVERS = ("overlay2", "erofs")


@record
class Choice:
    """A driver's name, and the reason in a few words."""

    name: str
    reason: str


def choose(root: Path, wanted: str) -> Choice:
    """The driver of a data root; ``wanted`` as configured. Makes nothing.

    Raises InvalidArgument, DriverMismatch, ReadOnlyRoot.
    """
    if wanted and wanted != AUTO:
        return Choice(open_layout(root, wanted, (*DRIVERS, AUTO)).driver, "as configured")
    populated = populated_drivers(root)
    if len(populated) > 1:
        from onggi.store.conversion import chosen_driver

        if (name := chosen_driver(root)) in populated:
            return Choice(name, f"{root} was converted to it")
    if populated:
        return Choice(open_layout(root, "", DRIVERS).driver, f"{root} holds images of it")
    made_for = [name for name in DRIVERS if (root / "image" / name).is_dir()]
    if len(made_for) == 1:
        return Choice(made_for[0], f"{root} was made for it")
    if wanted == AUTO:
        return _best(root)
    if os.geteuid() == 0:
        return Choice("overlay2", "a Docker daemon can take the data root over")
    return Choice("erofs", "it needs no root")


def _best(root: Path) -> Choice:
    """erofs where its layers can be mounted, or where nothing can be; else overlay2."""
    if os.geteuid() != 0:
        return Choice("erofs", "it needs no root")
    from onggi.drivers.erofs_probe import why_not_mountable

    reason = why_not_mountable(_existing(root))
    if not reason:
        return Choice("erofs", "its mounts work here, and nothing needs to be unpacked")
    from onggi.drivers.overlay2 import why_not_kept

    if why_not_kept(_existing(root)):
        return Choice("erofs", f"images can be kept here, not mounted: {reason}")
    return Choice("overlay2", f"erofs layers cannot be mounted here: {reason}")


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def open_driver(layout: Layout, exec_root: Path, storage_opts: Sequence[str] = ()) -> Overlay2 | Erofs:
    """The driver that a layout is for; ``exec_root`` is for what lives until the host is switched off.

    Raises InvalidArgument for a setting that the driver does not know.
    """
    if layout.driver == "erofs":
        from onggi.drivers.erofs import Erofs
        from onggi.drivers.erofs_options import read_erofs_options

        return Erofs(layout.driver_home, exec_root, read_erofs_options(storage_opts))
    from onggi.drivers.overlay2 import Overlay2

    return Overlay2(layout.driver_home)

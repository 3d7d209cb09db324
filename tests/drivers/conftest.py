"""What tests of one driver share; ``rig`` is theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from onggi.linux.mount import unmount


@pytest.fixture
def mounted(rig):
    """Mounts a layer's stack until the test ends."""
    points = []

    def mount(record) -> Path:
        target = rig.layout.root / f"merged{len(points)}"
        target.mkdir()
        rig.driver.mount(record.cache_id, target)
        points.append(target)
        return target

    yield mount
    for target in points:
        unmount(target)

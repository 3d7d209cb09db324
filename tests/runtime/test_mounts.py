"""Rules of mounts that no daemon is needed to see."""

from __future__ import annotations

import re

import pytest

from onggi.runtime.mounts import (
    InvalidTmpfsOption,
    Mount,
    masked_paths,
    merged_tmpfs_options,
    mount_entries,
    tmpfs_size_options,
)


def _destinations(*mounts: Mount, **host_config: object) -> list[str]:
    return [entry["destination"] for entry in mount_entries(host_config, mounts)]


def test_a_users_dev_replaces_all_below_it() -> None:
    found = _destinations(Mount("/host", "/dev"))
    assert found.count("/dev") == 1
    assert not [place for place in found if place.startswith("/dev/")]


def test_shallow_mounts_come_first() -> None:
    found = _destinations(Mount("/b", "/a/b/c"), Mount("/c", "/a"))
    assert found.index("/a") < found.index("/a/b/c")


def test_the_last_option_of_two_that_exclude_each_other_holds() -> None:
    assert merged_tmpfs_options(["noexec", "ro", "exec", "size=1m", "rw", "size=2m", "defaults"]) == [
        "exec",
        "rw",
        "size=2m",
    ]


@pytest.mark.parametrize("option", ["fly", "color=red"])
def test_an_unknown_tmpfs_option(option: str) -> None:
    with pytest.raises(InvalidTmpfsOption, match=re.escape(option.replace("=", '" "'))):
        merged_tmpfs_options([option])


def test_tmpfs_sizes_in_the_largest_unit() -> None:
    assert tmpfs_size_options(3 * 1024**3, 0o700, read_only=True) == "ro,mode=700,size=3g"
    assert tmpfs_size_options(1025, 0, read_only=False) == "size=1025"


def test_more_is_masked_since_28() -> None:
    """GHSA-jq35-85cj-fj4p, GHSA-6fw5-f8r9-fgfm."""
    thermal = ("/sys/devices/system/cpu/cpu0/thermal_throttle",)
    now, before = masked_paths({}, thermal, "28"), masked_paths({}, thermal, "20.10")
    assert set(now) - set(before) == {"/proc/interrupts", "/sys/devices/virtual/powercap", *thermal}
    assert masked_paths({"Privileged": True}, thermal, "28") == []

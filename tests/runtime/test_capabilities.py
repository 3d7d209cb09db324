"""Adding, dropping, clamping. What dockerd makes of the same words is in tests/compat/test_runtime_spec.py."""

from __future__ import annotations

import pytest

from onggi.linux.process import CAPABILITIES
from onggi.runtime.capabilities import DEFAULT, UnknownCapability, clamped, granted


def test_nothing_said_means_dockers_fourteen() -> None:
    assert granted(CAPABILITIES) == list(DEFAULT)
    assert len(DEFAULT) == 14


def test_all_added_wins_over_all_dropped() -> None:
    assert granted(CAPABILITIES, add=["all"], drop=["ALL"]) == list(CAPABILITIES)
    assert granted(CAPABILITIES, add=["kill"], drop=["ALL"]) == ["CAP_KILL"]


def test_names_with_and_without_prefix_in_any_case() -> None:
    assert granted(CAPABILITIES, add=["Cap_Sys_Time"])[-1] == "CAP_SYS_TIME"


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(UnknownCapability, match='invalid CapDrop: unknown capability: "CAP_FLY"'):
        granted(CAPABILITIES, drop=["fly"])


def test_what_the_host_lacks_is_left_out_and_told() -> None:
    kept, missing = clamped(["CAP_KILL", "CAP_SYS_BOOT", "CAP_KILL"], frozenset({"CAP_KILL"}))
    assert (kept, missing) == (["CAP_KILL"], ["CAP_SYS_BOOT"])

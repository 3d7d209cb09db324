"""Descriptors are values."""

from __future__ import annotations

import dataclasses

import pytest

from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.oci.platform import Platform
from onggi.record import FrozenRecord

DIGEST = Digest.of(b"x")


def test_equal_and_hashable() -> None:
    first = Descriptor("t", DIGEST, 1, Platform("linux", "arm", "v7"), {"a": "b"}, ("u",))
    second = Descriptor("t", DIGEST, 1, Platform("linux", "arm", "v7"), {"a": "b"}, ("u",))
    assert first == second
    assert len({first, second}) == 1
    assert first != dataclasses.replace(first, annotations={})


def test_frozen() -> None:
    with pytest.raises(FrozenRecord):
        Descriptor("t", DIGEST, 1).size = 2  # type: ignore[misc]


def test_defaults_are_not_shared() -> None:
    assert Descriptor("t", DIGEST, 1).annotations is not Descriptor("t", DIGEST, 1).annotations

"""The campaign's fixture, and the guard that nothing here runs without root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.campaign import Campaign, campaign


@pytest.fixture(scope="module")
def crash(tmp_path_factory) -> Iterator[Campaign]:
    """Samples, a counting registry, and what a sound data root looks like."""
    assert os.geteuid() == 0, "crash tests need root: run `make setup` and `make test` as root"
    with campaign(tmp_path_factory.mktemp("crash")) as made:
        yield made


@pytest.fixture
def fresh_root(crash: Campaign) -> Iterator[Path]:
    """A data root that does not exist yet."""
    with crash.fresh_root() as root:
        yield root

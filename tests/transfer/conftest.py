"""A docker-registry to push to, one for each module."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.peers.registries import Registry, start_registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Iterator[Registry]:
    directory = tmp_path_factory.mktemp("registry")
    started = start_registry(directory, directory / "storage", log={"level": "info"})
    yield started
    started.process.stop()


@pytest.fixture
def target(registry: Registry, request: pytest.FixtureRequest) -> str:
    """A name in a repository of the test's own."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return f"{registry.host}/{name}:1"

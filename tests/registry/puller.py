"""Downloads of one blob from a registry of the test's own, and how it may go wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from onggi.cancel import CancelToken
from onggi.content.blobs import BlobStore
from onggi.content.ratelimit import RateLimiter
from onggi.content.tuning import Tuning
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from tests.registry.site import Reply, Request

__all__ = ["DATA", "QUICK", "Puller", "blob_requests", "digest", "first", "hold", "puller"]

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DATA = random.Random(5).randbytes(700_001)
QUICK = Tuning(backoff_s=0)


class Puller:
    """Downloads one blob into a store of its own."""

    def __init__(self, world, host: str, tuning: Tuning = QUICK) -> None:
        self.store = BlobStore(world.directory / "blobs", tuning=tuning)
        self.repository = world.repository(host)
        self.frontiers: list[int] = []
        self.waits: list[int] = []

    def get(self, digest: str, size: int, cancel: CancelToken, limiter: RateLimiter | None = None) -> Path:
        descriptor = Descriptor(LAYER, Digest(digest), size)
        return self.store.download(
            descriptor,
            self.repository.blob(descriptor.digest, size),
            on_progress=self.frontiers.append,
            on_retry=self.waits.append,
            limiter=limiter,
            cancel=cancel,
        )

    def held(self, digest: str) -> bytes:
        return self.store.partial_path(Digest(digest)).read_bytes()


@pytest.fixture
def digest(registry) -> str:
    return registry.add_blob(DATA)


@pytest.fixture
def puller(world, site) -> Puller:
    return Puller(world, site.host)


def blob_requests(site) -> list[Request]:
    return [request for request in site.requests if "/blobs/" in request.path]


def first(number: int, answer):
    """A fault that holds for the first ``number`` requests for a blob."""
    left = [number]

    def fault(request: Request) -> Reply | None:
        if "/blobs/" not in request.path or not left[0]:
            return None
        left[0] -= 1
        return answer(request)

    return fault


def hold(puller, digest: str, data: bytes) -> None:
    """What an earlier process may have left."""
    path = puller.store.partial_path(Digest(digest))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)

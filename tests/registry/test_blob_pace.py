"""Blobs that come slowly, not at all, or many at once."""

from __future__ import annotations

import random
import re
import threading

import pytest

from onggi.cancel import CancelToken
from onggi.content.ratelimit import RateLimiter
from onggi.content.tuning import Tuning
from onggi.errors import Cancelled, DeadlineExceeded
from tests.registry.puller import DATA, Puller, blob_requests, first
from tests.registry.registry import ranged
from tests.registry.site import Reply

# --- slow, silent, cancelled ----------------------------------------------------------------


def test_a_silent_connection_is_given_up_and_the_blob_resumed(world, registry, site, digest, cancel):
    world.set(stall_timeout_s=0.3)
    registry.faults.append(first(1, lambda request: Reply(200, DATA, hold=300_000)))
    puller = Puller(world, site.host)
    assert puller.get(digest, len(DATA), cancel).read_bytes() == DATA
    assert [request.first_byte for request in blob_requests(site)] == [None, 300_000]


def test_cancel_wakes_a_silent_connection(world, registry, site, digest):
    world.set(stall_timeout_s=60.0)
    registry.faults.append(first(1, lambda request: Reply(200, DATA, hold=300_000)))
    puller = Puller(world, site.host)
    cancel = CancelToken()
    puller.frontiers = _Trigger(300_000, cancel)
    with pytest.raises(Cancelled):
        puller.get(digest, len(DATA), cancel)
    assert puller.held(digest) == DATA[:300_000]


class _Trigger(list):
    """Cancels a little after the frontier has come to a place."""

    def __init__(self, at: int, cancel: CancelToken) -> None:
        self._at, self._cancel = at, cancel

    def append(self, frontier: int) -> None:
        super().append(frontier)
        if frontier >= self._at:
            threading.Timer(0.05, self._cancel.cancel).start()


def test_a_deadline_ends_a_silent_connection(world, registry, site, digest):
    world.set(stall_timeout_s=60.0)
    registry.faults.append(first(1, lambda request: Reply(200, DATA, hold=300_000)))
    with pytest.raises(DeadlineExceeded):
        Puller(world, site.host).get(digest, len(DATA), CancelToken(timeout_s=0.5))


def test_a_slow_registry_is_asked_by_several(world, registry, site, cancel):
    data = random.Random(6).randbytes(8_000_000)
    digest = registry.add_blob(data)

    def slowly(request):
        if "/blobs/" not in request.path:
            return None
        reply = ranged(data, request)
        reply.bytes_per_s = 6_000_000
        return reply

    registry.faults.append(slowly)
    tuning = Tuning(backoff_s=0, trial_s=0.1, parallel_min_bytes=2_000_000, least_span_bytes=600_000)
    puller = Puller(world, site.host, tuning)
    assert puller.get(digest, len(data), cancel).read_bytes() == data
    assert len(blob_requests(site)) >= 4
    assert len({request.peer for request in blob_requests(site)}) >= 4
    assert puller.frontiers == sorted(puller.frontiers)
    ranges = [request.headers["Range"] for request in blob_requests(site)]
    assert ranges[0] is None
    assert all(re.fullmatch(r"bytes=\d+-\d*", text) for text in ranges[1:])


def test_a_slow_registry_without_ranges_sends_the_blob_once(world, registry, site, cancel):
    data = random.Random(7).randbytes(4_000_000)
    digest = registry.add_blob(data)
    registry.faults.append(
        first(99, lambda request: Reply(200, data, bytes_per_s=None if request.headers["Range"] else 4e6))
    )
    tuning = Tuning(backoff_s=0, trial_s=0.1, parallel_min_bytes=1_000_000, least_span_bytes=600_000)
    puller = Puller(world, site.host, tuning)
    assert puller.get(digest, len(data), cancel).read_bytes() == data
    assert len([request for request in blob_requests(site) if not request.headers["Range"]]) == 1


def test_a_limited_download_comes_whole(puller, digest, cancel):
    limiter = RateLimiter(3_000_000)
    assert puller.get(digest, len(DATA), cancel, limiter).read_bytes() == DATA


# --- several at once ------------------------------------------------------------------------


def test_many_blobs_at_once_over_one_client_with_one_fault_each(puller, registry, site, cancel):
    """Eight threads; every first answer is cut somewhere, and no blob takes another one's bytes."""
    blobs = {registry.add_blob(data): data for data in (DATA[: 300_000 + 40_000 * n] for n in range(8))}
    cut = set()

    def once(request):
        name = request.path.rpartition("/")[2]
        if name not in blobs or name in cut:
            return None
        cut.add(name)
        return Reply(200, blobs[name], cut_after=len(blobs[name]) // 2)

    registry.faults.append(once)
    found: dict[str, bytes] = {}

    def get(digest: str) -> None:
        found[digest] = puller.get(digest, len(blobs[digest]), cancel).read_bytes()

    threads = [threading.Thread(target=get, args=(digest,)) for digest in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == blobs
    assert len(blob_requests(site)) == 2 * len(blobs)
    assert len(site.asked("/v2/")) == 1

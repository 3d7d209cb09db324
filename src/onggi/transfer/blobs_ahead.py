"""Blobs that come before it is known which layers they make.

Only an image's config tells that, and it is a trip to the registry away, or two where the
registry sends us on to a blob store. The first blobs set out together with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from onggi.cancel import CancelToken
from onggi.content.download import Watchers
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest
from onggi.store.locks import Lease

__all__ = ["BlobsAhead", "Receive"]

Receive = Callable[[Descriptor, Watchers, CancelToken], Path | None]
"""Receives one blob; None where somebody else is at it, or it may not be needed at all."""


class BlobsAhead:
    """A context manager; ``want`` leases a blob, ``drop`` is given those that nobody took.

    What has come when something fails stays for the next pull.
    """

    def __init__(
        self,
        receive: Receive,
        want: Callable[[Digest], Lease],
        drop: Callable[[Digest, Lease], None],
        cancel: CancelToken,
    ) -> None:
        self._receive = receive
        self._want = want
        self._drop = drop
        self._cancel = cancel
        self._coming: dict[Digest, _Coming] = {}

    def start(self, descriptors: Iterable[Descriptor]) -> None:
        """Send for blobs, each in a thread."""
        for descriptor in descriptors:
            if descriptor.digest not in self._coming:
                lease = self._want(descriptor.digest)
                stop = CancelToken(self._cancel.remaining_s())
                self._coming[descriptor.digest] = _Coming(self._receive, descriptor, lease, stop)

    def take(self, descriptor: Descriptor, watchers: Watchers, cancel: CancelToken) -> Path | None:
        """The blob, once it is whole; None where it has to be sent for.

        ``watchers`` hear of the rest of its way. It must be wanted by a lease of the caller's.
        Raises what the receiving raised.
        """
        coming = self._coming.pop(descriptor.digest, None)
        if coming is None:
            return None
        coming.wanted.release()
        forget = cancel.on_cancel(coming.stop.cancel)
        try:
            return coming.result(watchers)
        finally:
            forget()

    def __enter__(self) -> BlobsAhead:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for coming in self._coming.values():
            coming.stop.cancel()
        for digest, coming in self._coming.items():
            coming.wait()
            if kind is None:
                self._drop(digest, coming.wanted)
            else:
                coming.wanted.release()


class _Coming:
    """One blob on its way."""

    def __init__(self, receive: Receive, descriptor: Descriptor, wanted: Lease, stop: CancelToken) -> None:
        self.wanted = wanted
        self.stop = stop
        self._receive = receive
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._frontier_bytes = 0
        self._watchers: Watchers | None = None
        self._path: Path | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._path = self._receive(self._descriptor, Watchers(self._progress, self._retry), self.stop)
        except BaseException as error:
            self._error = error

    def _progress(self, frontier_bytes: int) -> None:
        with self._lock:
            self._frontier_bytes = frontier_bytes
            if self._watchers is not None:
                self._watchers.progress(frontier_bytes)

    def _retry(self, seconds: int) -> None:
        with self._lock:
            if self._watchers is not None:
                self._watchers.retry(seconds)

    def result(self, watchers: Watchers) -> Path | None:
        with self._lock:
            self._watchers = watchers
            if self._frontier_bytes:
                watchers.progress(self._frontier_bytes)
        self.wait()
        if self._error is not None:
            raise self._error
        return self._path

    def wait(self) -> None:
        self._thread.join()

"""A pull to iterate: events while it runs, the image at the end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from onggi.cancel import CancelToken
from onggi.progress import ProgressEvent

if TYPE_CHECKING:
    from onggi.engine.image import Image
    from onggi.engine.images import Images

__all__ = ["PullOperation"]


class PullOperation:
    """``for event in engine.images.pulling("nginx"): …``.

    The pull runs in a thread from construction on. Iteration ends with it, and raises its
    error. Leaving the loop early does not stop it; :meth:`cancel` does.
    """

    def __init__(self, images: Images, reference: str, settings: dict[str, Any]) -> None:
        self._events: queue.SimpleQueue[ProgressEvent | None] = queue.SimpleQueue()
        timeout_s = settings.pop("timeout_s", None)
        self._cancel: CancelToken = settings.pop("cancel", None) or CancelToken(timeout_s)
        self._image: Image | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(images, reference, settings), name="onggi-pull", daemon=True
        )
        self._thread.start()

    def _run(self, images: Images, reference: str, settings: dict[str, Any]) -> None:
        try:
            self._image = images.pull(reference, progress=self._events.put, cancel=self._cancel, **settings)
        except BaseException as error:
            self._error = error
        finally:
            self._events.put(None)

    def __iter__(self) -> Iterator[ProgressEvent]:
        while (event := self._events.get()) is not None:
            yield event
        self._events.put(None)
        self.result()

    def result(self) -> Image:
        """Wait for the end; the image, or the pull's error raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._image is not None
        return self._image

    @property
    def image(self) -> Image:
        """The same as :meth:`result`."""
        return self.result()

    def cancel(self) -> None:
        """Stop the pull; what was received is kept for the next one."""
        self._cancel.cancel()

"""Our registry with an account of what it was asked for."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from onggi.hub.app import make_app
from onggi.hub.layout import OCILayout

__all__ = ["CountingRegistry", "counting"]


@dataclass
class CountingRegistry:
    """``ranges`` maps a blob's digest to the first byte of each request for it, in order."""

    url: str = ""
    ranges: dict[str, list[int]] = field(default_factory=dict)

    def forget(self) -> None:
        """Begin a new account."""
        self.ranges.clear()

    def note(self, request: web.Request) -> None:
        """Count a request for a blob."""
        kind, _, digest = request.path.rpartition("/")
        if request.method == "GET" and kind.endswith("/blobs"):
            first = request.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
            self.ranges.setdefault(digest, []).append(int(first))

    def fetched(self) -> Counter[str]:
        """Requests by digest."""
        return Counter({digest: len(starts) for digest, starts in self.ranges.items()})


@contextmanager
def counting(layout: Path) -> Iterator[CountingRegistry]:
    """Serve an OCI layout in a thread for the length of a block."""
    registry = CountingRegistry()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(_start(layout, registry), loop).result()
    try:
        yield registry
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(layout: Path, registry: CountingRegistry) -> web.AppRunner:
    @web.middleware
    async def count(request: web.Request, handler):
        registry.note(request)
        return await handler(request)

    app = make_app(OCILayout(layout))
    app.middlewares.append(count)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    registry.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return runner

"""Run the registry: in a thread beside synchronous code, or as a program."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from onggi.hub.app import Storage, make_app

__all__ = ["serve", "serving"]


async def _start(storage: Storage, host: str, port: int) -> tuple[web.AppRunner, int]:
    runner = web.AppRunner(make_app(storage), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return runner, int(runner.addresses[0][1])


def serve(storage: Storage, host: str, port: int) -> None:
    """Serve until interrupted."""

    async def forever() -> None:
        runner, _ = await _start(storage, host, port)
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    asyncio.run(forever())


@contextmanager
def serving(storage: Storage, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve in a thread for the length of a block; gives the base URL. Port 0 is any free one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="onggi-hub", daemon=True)
    thread.start()
    try:
        runner, bound = asyncio.run_coroutine_threadsafe(_start(storage, host, port), loop).result()
        try:
            yield f"http://{host}:{bound}"
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

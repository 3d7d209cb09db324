"""Run the registry: in a thread beside synchronous code, or as a program."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from onggi.errors import Unavailable
from onggi.hub.app import make_app
from onggi.hub.storage import Storage

if TYPE_CHECKING:
    import ssl

__all__ = ["AddressUnavailable", "serve", "serving"]

# Seconds that answers under way get when the server stops.
_GRACE_S = 2.0


class AddressUnavailable(Unavailable):
    """The address is taken, or is not this machine's."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"listen on {address}: {reason}", hint="choose another one with --listen HOST:PORT")
        self.address = address


@contextmanager
def serving(
    storage: Storage,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    tls: ssl.SSLContext | None = None,
    middlewares: Iterable[object] = (),
) -> Iterator[str]:
    """Serve from a thread for the length of a block; gives the base URL, without a slash at its end.

    Port 0 is any free one. ``middlewares``: see :func:`~onggi.hub.app.make_app`; they run in
    the server's thread. Raises AddressUnavailable.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="onggi-hub", daemon=True)
    thread.start()
    try:
        start = _start(make_app(storage, middlewares), host, port, tls)
        runner, url = asyncio.run_coroutine_threadsafe(start, loop).result()
        try:
            yield url
        finally:
            asyncio.run_coroutine_threadsafe(_stop(runner, loop), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def serve(
    storage: Storage,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; ``on_ready`` is told the base URL. Raises AddressUnavailable."""

    async def run() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        runner, url = await _start(make_app(storage), host, port, tls)
        if on_ready is not None:
            on_ready(url)
        try:
            await stopped.wait()
        finally:
            await runner.cleanup()

    asyncio.run(run())


async def _start(
    app: web.Application, host: str, port: int, tls: ssl.SSLContext | None
) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=_GRACE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError as error:
        await runner.cleanup()
        raise AddressUnavailable(f"{host}:{port}", error.strerror or str(error)) from error
    bound = runner.addresses[0][1]
    name = f"[{host}]" if ":" in host else host
    return runner, f"{'https' if tls else 'http'}://{name}:{bound}"


async def _stop(runner: web.AppRunner, loop: asyncio.AbstractEventLoop) -> None:
    await runner.cleanup()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()

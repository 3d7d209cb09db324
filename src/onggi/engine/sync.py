"""``sync``: images from one data root to another, here or over ssh."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from onggi.cancel import CancelToken
from onggi.config import Config
from onggi.drivers.workers import Workers
from onggi.engine.core import Core
from onggi.engine.names import find_image
from onggi.errors import InvalidArgument, NotFound, OnggiError
from onggi.progress import ProgressSink, discard
from onggi.record import replace
from onggi.store.dataroot import populated_drivers
from onggi.transfer.reporter import Reporter
from onggi.transfer.sync import LocalSource, Sink, Source, Synced
from onggi.transfer.sync_channel import (
    Channel,
    RemoteSource,
    answer,
    greet,
    report_document,
    serve_source,
)
from onggi.transfer.sync_ssh import SSHConnection, SSHPlace

__all__ = ["DEFAULT_PROGRAM", "NoDataRoot", "SamePlace", "serve", "sync"]

DEFAULT_PROGRAM = "onggi"
"""How this program is called on another host."""

_SSH = "ssh://"


class NoDataRoot(NotFound):
    """The source is no data root."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"sync from {path}: no such data root",
            hint="name the directory that --data-root names, e.g. /var/lib/onggi or /var/lib/docker",
        )


class SamePlace(InvalidArgument):
    """Source and destination are one."""

    def __init__(self, path: str) -> None:
        super().__init__(f"sync {path}: source and destination are the same data root")


def sync(
    config: Config,
    source: str,
    target: str,
    names: Sequence[str] = (),
    *,
    dry_run: bool = False,
    program: str = DEFAULT_PROGRAM,
    progress: ProgressSink = discard,
    cancel: CancelToken | None = None,
    timeout_s: float | None = None,
) -> list[Synced]:
    """Bring images from ``source`` to ``target``: paths of data roots, or ``ssh://[user@]host[:port]/path``.

    ``names`` are images of the source (an id brings an image without a name); without any, all
    that have a name. Only missing layers travel, each is proven by its diffID. ``dry_run``
    changes nothing. ``program`` is how onggi is called on the other host (``sudo onggi``).

    Raises NoDataRoot, SamePlace, ImageNotFound, WrongLayer, ChannelBroken, and what the store raises.
    """
    token = cancel or CancelToken(timeout_s)
    _check_different(source, target)
    with ExitStack() as stack:
        giver = _giver(config, source, program, token, stack)
        if target.startswith(_SSH):
            begin: dict[str, object] = {"role": "sink", "names": list(names), "dry_run": dry_run}
            with _connected(target, program, begin, token) as channel:
                return serve_source(channel, giver, Reporter(progress))
        return _take(_config(config, target), giver, names, dry_run, Reporter(progress), token)


def serve(config: Config, reader: BinaryIO, writer: BinaryIO) -> None:
    """The called side of a sync over ``ssh``: what ``sync-serve`` does with its standard streams."""
    channel = Channel(reader, writer, "the caller")
    begin = answer(channel)
    try:
        if begin["role"] == "source":
            with _local_source(config, str(config.data_root)) as giver:
                serve_source(channel, giver)
            return
        names = [str(name) for name in begin.get("names") or ()]
        dry_run = bool(begin.get("dry_run"))
        quiet = Reporter(discard)
        synced = _take(config, RemoteSource(channel), names, dry_run, quiet, CancelToken())
        channel.send_json(b"R", report_document(synced))
    except OnggiError as error:
        channel.tell(error)
        raise


# --- the two ends -----------------------------------------------------------------------------


def _check_different(source: str, target: str) -> None:
    local = not source.startswith(_SSH) and not target.startswith(_SSH)
    if source == target or (local and os.path.realpath(source) == os.path.realpath(target)):
        raise SamePlace(source)


def _config(config: Config, path: str) -> Config:
    """Settings for one of the two roots; what holds images keeps its driver, whichever the other one has."""
    root = Path(os.path.abspath(path))
    driver = "" if populated_drivers(root) else config.storage_driver
    return replace(config, data_root=root, storage_driver=driver)


def _giver(config: Config, place: str, program: str, cancel: CancelToken, stack: ExitStack) -> Source:
    if place.startswith(_SSH):
        return RemoteSource(stack.enter_context(_connected(place, program, {"role": "source"}, cancel)))
    return stack.enter_context(_local_source(_config(config, place), place))


def _local_source(config: Config, name: str) -> LocalSource:
    if not (config.data_root / "image").is_dir():
        raise NoDataRoot(name)
    core = Core.open(config)
    return LocalSource(
        name, core.images, core.tags, core.layers, core.distribution, lambda text: find_image(core, text)
    )


@contextmanager
def _connected(place: str, program: str, begin: dict[str, object], cancel: CancelToken) -> Iterator[Channel]:
    """A channel to another host, greeted; errors of a lost connection tell what ssh said."""
    connection = SSHConnection(SSHPlace.parse(place), program)
    forget = cancel.on_cancel(connection.cancel)
    hint = f"{program!r} must be found and started there: see --remote-program, and try ssh by hand"
    try:
        greet(connection.channel, begin)
        hint = ""
        yield connection.channel
    except OnggiError as error:
        cancel.check()
        raise connection.explain(error, hint) from None
    finally:
        forget()
        connection.close()


def _take(
    config: Config,
    giver: Source,
    names: Sequence[str],
    dry_run: bool,
    reporter: Reporter,
    cancel: CancelToken,
) -> list[Synced]:
    core = Core.open(config)
    workers = Workers(core.driver.job_name)
    sink = Sink(
        images=core.images,
        tags=core.tags,
        layers=core.layers,
        distribution=core.distribution,
        locks=core.locks,
        workers=workers,
        spool=core.layout.own,
    )
    if dry_run:
        return sink.plan(sink.offers(giver, names))
    try:
        core.driver.check_host()
        workers.warm_up()
        with core.writing():
            return list(_store(core, sink, giver, names, reporter, cancel))
    finally:
        workers.close()


def _store(
    core: Core,
    sink: Sink,
    giver: Source,
    names: Sequence[str],
    reporter: Reporter,
    cancel: CancelToken,
) -> Iterator[Synced]:
    for offer in sink.offers(giver, names):
        cancel.check()
        synced = sink.store(giver, offer, reporter, cancel)
        core.used(synced.image_id)
        if synced.new:
            attributes = {"name": synced.names[0]} if synced.names else {}
            core.emit("sync", synced.image_id, {**attributes, "from": giver.name})
        yield synced

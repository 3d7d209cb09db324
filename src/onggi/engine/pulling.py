"""Pull, from names to the puller, and Docker's last line."""

from __future__ import annotations

import os

from onggi.cancel import CancelToken
from onggi.config import Config
from onggi.content.ratelimit import RateLimiter
from onggi.drivers.workers import Workers
from onggi.engine.core import Core
from onggi.errors import InvalidArgument
from onggi.oci.digest import ImageID
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.progress import Message, ProgressSink
from onggi.registry.client import RegistryClient
from onggi.transfer.pull import Puller, PullOptions

__all__ = ["options_of", "pull", "pull_all", "puller_of"]


def options_of(
    config: Config, platform: str | None, rate: int | None, downloads: int | None, keep: bool | None
) -> PullOptions:
    """What a caller asked for, over the configuration. Raises InvalidPlatform."""
    wanted = platform or config.default_platform
    limit = rate or config.limit_rate_bytes_per_s
    return PullOptions(
        platform=Platform.parse(wanted) if wanted else None,
        max_concurrent_downloads=downloads or config.max_concurrent_downloads,
        max_unpacks=(os.cpu_count() or 1) + 1,
        limiter=RateLimiter(limit) if limit else None,
        keep_blobs=config.keep_blobs if keep is None else keep,
    )


def puller_of(core: Core, client: RegistryClient, workers: Workers) -> Puller:
    """A puller into this data root."""
    return Puller(
        config=core.config,
        client=client,
        blobs=core.blobs,
        layers=core.layers,
        images=core.images,
        tags=core.tags,
        distribution=core.distribution,
        manifests=core.manifests,
        locks=core.locks,
        workers=workers,
    )


def pull(
    core: Core,
    puller: Puller,
    reference: Reference,
    options: PullOptions,
    progress: ProgressSink,
    cancel: CancelToken,
) -> ImageID:
    """Pull one tag or digest. Raises as :meth:`Puller.pull`."""
    with core.writing():
        pulled = puller.pull(reference, options, progress, cancel)
        core.used(pulled.image_id)
        core.emit("pull", reference.familiar, {"name": reference.familiar_name})
    progress(Message(_status(pulled.newer, _stored_name(reference))))
    return pulled.image_id


def pull_all(
    core: Core,
    puller: Puller,
    reference: Reference,
    options: PullOptions,
    progress: ProgressSink,
    cancel: CancelToken,
) -> list[ImageID]:
    """Pull every tag of a name, in the registry's order; an image for each."""
    if not reference.is_name_only:
        raise InvalidArgument("tag can't be used with --all-tags/-a")
    with core.writing():
        tags = puller.client.repository(reference).tags(cancel)
        pulled = [puller.pull(reference.with_tag(tag), options, progress, cancel) for tag in tags]
        for item in pulled:
            core.used(item.image_id)
            core.emit("pull", item.reference.familiar, {"name": reference.familiar_name})
    progress(Message(_status(any(item.newer for item in pulled), reference)))
    return [item.image_id for item in pulled]


def _status(newer: bool, reference: Reference) -> str:
    what = "Downloaded newer image for" if newer else "Image is up to date for"
    return f"Status: {what} {reference.familiar}"


def _stored_name(reference: Reference) -> Reference:
    """Docker's status line names what was stored: the digest wins over a tag (§1.3)."""
    return reference if reference.digest is None else reference.without_tag().with_digest(reference.digest)

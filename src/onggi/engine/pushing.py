"""Push, from names to the pusher."""

from __future__ import annotations

from collections.abc import Sequence

from onggi.cancel import CancelToken
from onggi.engine.core import Core
from onggi.errors import InvalidArgument
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.progress import ProgressSink
from onggi.registry.client import RegistryClient
from onggi.transfer.push import Pushed, Pusher
from onggi.transfer.push_layers import PushOptions, Stores, parse_compression

__all__ = ["options_of", "push"]


def options_of(
    core: Core,
    compression: str | None = None,
    oci: bool | None = None,
    platform: str | Sequence[str] | None = None,
    all_platforms: bool = False,
    uploads: int | None = None,
) -> PushOptions:
    """What a caller asked for, over the configuration. Raises InvalidArgument, InvalidPlatform."""
    platforms = [platform] if isinstance(platform, str) else platform or ()
    if platforms and all_platforms:
        raise InvalidArgument("--platform can't be used with --all-platforms", hint="leave one of them out")
    return PushOptions(
        compression=None if compression is None else parse_compression(compression),
        oci=oci,
        platforms=tuple(map(Platform.parse, platforms)),
        all_platforms=all_platforms,
        max_concurrent_uploads=uploads or core.config.max_concurrent_uploads,
    )


def push(
    core: Core,
    client: RegistryClient,
    reference: Reference,
    options: PushOptions,
    progress: ProgressSink,
    cancel: CancelToken,
) -> list[Pushed]:
    """Push a tag, or all tags of a name. Raises as :meth:`Pusher.push`."""
    pusher = Pusher(
        client=client,
        stores=Stores(core.blobs, core.layers, core.distribution, core.locks),
        images=core.images,
        tags=core.tags,
        manifests=core.manifests,
    )
    with core.writing():
        pushed = pusher.push(reference, options, progress, cancel)
        for image_id in {item.image_id for each in pushed for item in (each, *each.members)}:
            core.used(image_id)
        core.emit("push", reference.familiar, {"name": reference.familiar_name})
    return pushed

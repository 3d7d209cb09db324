"""``commit``: an image of what a container is now."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing

from onggi.cancel import CancelToken
from onggi.drivers.workers import Workers
from onggi.engine.containers.changes import pack_rules
from onggi.engine.containers.container_events import emit
from onggi.engine.containers.from_layer import refuse_lower_layer
from onggi.engine.containers.merge import merged_config
from onggi.engine.containers.roots import changed_layers, wait_for_root
from onggi.engine.core import Core
from onggi.errors import Conflict
from onggi.oci.digest import ImageID
from onggi.oci.reference import Reference
from onggi.record import record
from onggi.store.containers import StoredContainer
from onggi.transfer.changes import apply_changes
from onggi.transfer.commit import CommitOptions, Committer
from onggi.transfer.new_image import ImageMaker
from onggi.tree.pack import PackRules, pack

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.engine.containers.container import Container

__all__ = ["CannotCommit", "CommitRequest", "commit_container"]


class CannotCommit(Conflict):
    """The container is going; Docker's words."""

    def __init__(self, id: str, state: str) -> None:
        super().__init__(f"You cannot commit container {id} which is {state}")


@record
class CommitRequest:
    """``changes`` are Dockerfile instructions. ``pause``: nothing runs while it is read."""

    reference: str = ""
    author: str = ""
    message: str = ""
    changes: Sequence[str] = ()
    pause: bool = True


def commit_container(
    core: Core, container: Container, request: CommitRequest, cancel: CancelToken
) -> ImageID:
    """The new image's id. Raises CannotCommit, InvalidChange, ImageNotFound, and the errors of Committer."""
    stored = container.stored
    options = _options(core, stored, request)
    options.check()
    with core.writing(), closing(Workers(core.driver.job_name)) as workers, ExitStack() as held:
        _hold(core, container, held, pause=request.pause)
        parent = core.images.get(ImageID(stored.document["Image"])) if stored.document["Image"] else None
        refuse_lower_layer(core, stored, parent)
        maker = ImageMaker(core.layers, core.images, core.tags, core.locks, workers, core.layout.own)
        committer = Committer(maker, core.config.compat)
        image_id = committer.run(_changes(core, stored), parent, options, cancel)
        _tell(core, stored, image_id, options)
    return image_id


def _options(core: Core, stored: StoredContainer, request: CommitRequest) -> CommitOptions:
    for field, word in (("Dead", "Dead"), ("RemovalInProgress", "removing")):
        if stored.state.get(field):
            raise CannotCommit(stored.id, word)
    compat = core.config.compat
    reference = Reference.parse(request.reference, compat).tagged() if request.reference else None
    changed = apply_changes(request.changes, compat, stored.config)
    config = merged_config(changed, stored.config)
    return CommitOptions(stored.id, config, stored.config, request.author, request.message, reference)


def _hold(core: Core, container: Container, held: ExitStack, *, pause: bool) -> None:
    """Nobody starts it, or nothing in it runs, until ``held`` ends."""
    lease, root = wait_for_root(core, container.stored, bare=True)
    if lease is not None:
        held.enter_context(lease)
    if root is None:
        return
    os.close(root)
    if pause and container.status == "running":
        held.enter_context(container.supervisor.frozen())


def _changes(core: Core, stored: StoredContainer) -> Iterator[bytes]:
    with changed_layers(core, stored) as (upper, _):
        yield from pack(upper, _rules(core.config.compat))


def _rules(compat: str) -> PackRules:
    """Docker 20.10 looks names up on this host."""
    if compat != "20.10":
        return pack_rules(compat, {}, {}, layer=True)
    users = {entry.pw_uid: os.fsencode(entry.pw_name) for entry in reversed(pwd.getpwall())}
    groups = {entry.gr_gid: os.fsencode(entry.gr_name) for entry in reversed(grp.getgrall())}
    return pack_rules(compat, users, groups, layer=True)


def _tell(core: Core, stored: StoredContainer, image_id: ImageID, options: CommitOptions) -> None:
    name = options.reference.familiar if options.reference is not None else ""
    core.used(image_id)
    if name:
        core.emit("tag", image_id, {**core.images.remembered(image_id).labels, "name": name})
    emit(core, "commit", stored, comment=options.message, imageID=str(image_id), imageRef=name)

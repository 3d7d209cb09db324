"""``engine.images.repair``: what verify finds is put right, and nothing else is touched.

Metadata that can be derived is written anew; damaged layers are fetched, unpacked beside the
old ones, proved by their diffID and swapped in whole: same cache-id, same short name, so that
the layers and containers above find them where they were. A container that runs, or a mount,
on a layer of overlay2 that must be swapped would see its files vanish: repair refuses that unless
told. A mount of erofs lives on with the old content; the next one sees the new.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from onggi.cancel import CancelToken
from onggi.drivers.flaw import Flaw
from onggi.engine.containers import known_containers
from onggi.engine.core import Core
from onggi.engine.mounts import Mounts
from onggi.engine.names import ImageNotFound, find_image
from onggi.engine.verification import (
    Finding,
    Placed,
    config_finding,
    layer_findings,
    place_layers,
    shown_name,
)
from onggi.errors import Conflict, DataLoss
from onggi.layers.mend import mend_layer
from onggi.layers.verify import LayerCheck, check_layers, read_cache_id
from onggi.oci.digest import CacheID, ChainID, ImageID
from onggi.oci.image_config import ImageConfig
from onggi.progress import LayerStatus, ProgressSink
from onggi.record import record
from onggi.store.atomic import remove_temporary_files
from onggi.transfer.pull import Puller, PullOptions
from onggi.transfer.repair import Origins, fetch_layers
from onggi.transfer.reporter import Reporter
from onggi.transfer.wanted import Need, Wanted

__all__ = ["LayerInUse", "Repair", "RepairFailed", "RepairReport", "RepairedLayer"]


class LayerInUse(Conflict):
    """Somebody looks at the files that would be swapped."""

    def __init__(self, image: str, layer: int, who: str, way_out: str) -> None:
        super().__init__(
            f"repair {image}: {who} stands on its layer {layer}, whose files must be replaced",
            hint=f"{way_out}, or use --force and start it anew afterwards",
        )


class RepairFailed(DataLoss):
    """Something is still wrong after the repair."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(
            f"repair {finding}: still so after the repair",
            hint="is the disk failing? See dmesg, and 'onggi verify'",
        )
        self.finding = finding


@record
class RepairedLayer:
    """``fetched``: the layer was replaced; else ``files`` are its metadata written anew."""

    layer: int
    chain_id: ChainID
    cache_id: CacheID | None
    fetched: bool
    files: tuple[str, ...]

    def __str__(self) -> str:
        place = f"layer {self.layer}" + (f" (cache-id {self.cache_id[:12]})" if self.cache_id else "")
        done = [*self.files, *(["fetched again and replaced"] if self.fetched else [])]
        return f"{place}: {', '.join(done)}"


@record
class RepairReport:
    """What was wrong with an image, and what was done about it; nothing, where nothing was.

    ``stale``: who still stands on files that were replaced, and what lets them see the new ones.
    """

    image_id: ImageID
    name: str
    findings: tuple[Finding, ...]
    layers: tuple[RepairedLayer, ...]
    config_fetched: bool
    stale: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What was wrong, then what was done; empty where nothing was."""
        lines = [str(finding) for finding in self.findings]
        if self.config_fetched:
            lines.append("Repaired config: fetched again")
        return [*lines, *(f"Repaired {layer}" for layer in self.layers), *self.stale]


@record
class _User:
    """Who stands on the layers of ``chains``; how to ``end`` that, and how to have them see new files."""

    chains: set[ChainID]
    who: str
    end: str
    renew: str


class Repair:
    """Repairs one image; used once, inside :meth:`Core.writing`."""

    def __init__(
        self,
        core: Core,
        puller: Puller,
        options: PullOptions,
        progress: ProgressSink,
        cancel: CancelToken,
    ) -> None:
        self._core = core
        self._puller = puller
        self._options = options
        self._reporter = Reporter(progress)
        self._cancel = cancel

    def run(self, name: str, *, force: bool) -> RepairReport:
        """Verify, mend, fetch, verify again. Raises LayerInUse, NowhereToFetch, RepairFailed."""
        image_id = find_image(self._core, name)
        shown = shown_name(self._core, image_id)
        with ExitStack() as leases:
            leases.enter_context(
                self._core.locks.acquire(f"image-{image_id.hex}", exclusive=False, cancel=self._cancel)
            )
            if image_id not in self._core.images:
                raise ImageNotFound(name)
            references = self._core.tags.snapshot().of(image_id)
            origins = Origins(self._puller, image_id, references, self._cancel)
            lost = config_finding(self._core, image_id)
            config = self._config(image_id, origins, lost)
            placed = place_layers(self._core, {image_id: config})
            checks = self._check(placed)
            findings = [lost] if lost is not None else []
            for each, check in zip(placed, checks, strict=True):
                findings += layer_findings(each, check)
            done = self._repair(shown, image_id, placed, checks, origins, force=force)
        if findings:
            self._core.emit("repair", image_id, {"name": name})
        stale = tuple(self._stale(done))
        return RepairReport(image_id, shown, tuple(findings), tuple(done), lost is not None, stale)

    def _config(self, image_id: ImageID, origins: Origins, lost: Finding | None) -> ImageConfig:
        if lost is None:
            return self._core.images.get(image_id)
        config = origins.config()
        self._core.images.add(config)
        return config

    def _check(self, placed: Sequence[Placed]) -> list[LayerCheck]:
        layers = [each.layer for each in placed]
        return list(check_layers(self._core.layers, self._puller.workers, layers, cancel=self._cancel))

    # --- doing ----------------------------------------------------------------------------

    def _repair(
        self,
        shown: str,
        image_id: ImageID,
        placed: list[Placed],
        checks: list[LayerCheck],
        origins: Origins,
        *,
        force: bool,
    ) -> list[RepairedLayer]:
        for each in placed:
            self._clear(each.layer.chain_id)
        damaged = [(each, check) for each, check in zip(placed, checks, strict=True) if not check.sound]
        if not damaged:
            return []
        if not force:
            self._refuse_if_used(shown, [each for each, check in damaged if not check.mendable])
        files = {each.layer.chain_id: self._mend(each, check) for each, check in damaged}
        # Content that could not be found before its metadata were right can be looked at now.
        again = self._check([each for each, _ in damaged])
        fetch = [each for (each, _), check in zip(damaged, again, strict=True) if not check.sound]
        if not force:
            self._refuse_if_used(shown, fetch)
        self._fetch(fetch, origins, lambda: None if force else self._refuse_if_used(shown, fetch))
        self._prove([each for each, _ in damaged] if fetch else [])
        return [self._done(each, files[each.layer.chain_id], each in fetch) for each, _ in damaged]

    def _done(self, placed: Placed, files: list[str], fetched: bool) -> RepairedLayer:
        entry = self._core.layers.get(placed.layer.chain_id)
        cache_id = None if entry is None else entry.cache_id
        return RepairedLayer(placed.index, placed.layer.chain_id, cache_id, fetched, tuple(files))

    def _clear(self, chain: ChainID) -> None:
        """Delete what a repair left that was killed while it wrote beside the driver's files."""
        layers = self._core.layers
        cache_id = read_cache_id(layers, chain)
        directory = None if cache_id is None else layers.driver.path(cache_id)
        if directory is None or not any(directory.glob(".tmp-*")):
            return
        with layers.lease(chain, exclusive=True, cancel=self._cancel):
            before = directory.stat()
            remove_temporary_files(directory)
            # 'verify --fast' goes by the directory's time.
            os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))

    def _mend(self, placed: Placed, check: LayerCheck) -> list[str]:
        layers = self._core.layers
        if not layers.db.path(check.chain_id).is_dir():
            return []
        with layers.lease(check.chain_id, exclusive=True, cancel=self._cancel):
            if any(_is_content(flaw, layers.driver.name) for flaw in check.flaws):
                return []
            return mend_layer(layers, self._puller.workers, placed.layer, check, self._cancel)

    def _fetch(self, placed: Sequence[Placed], origins: Origins, check: Callable[[], None]) -> None:
        """``check`` is asked again when nobody can mount the layers any more."""
        if not placed:
            return
        layers = []
        for each in placed:
            diff_id = each.layer.diff_id
            assert diff_id is not None
            origin = origins.layer(each.index - 1, diff_id)
            wanted = Wanted(
                origin.descriptor, diff_id, each.layer.chain_id, each.layer.parent, each.index, Need.UNPACK
            )
            layers.append((wanted, origin))
            self._reporter.layer(origin.descriptor.digest.short, LayerStatus.PULLING)
        with ExitStack() as leases:
            for wanted, _ in layers:
                wanted.lease = self._core.layers.lease(wanted.chain_id, exclusive=True, cancel=self._cancel)
                leases.callback(wanted.lease.release)
            check()
            fetch_layers(self._puller, layers, self._options, self._reporter, self._cancel)

    def _prove(self, placed: Sequence[Placed]) -> None:
        for each, check in zip(placed, self._check(placed), strict=True):
            for finding in layer_findings(each, check):
                raise RepairFailed(finding)

    # --- who would be hurt ----------------------------------------------------------------

    def _refuse_if_used(self, shown: str, placed: Sequence[Placed]) -> None:
        placed = [each for each in placed if not self._can_be_replaced(each.layer.chain_id)]
        if not placed:
            return
        for user in self._users():
            for each in placed:
                if each.layer.chain_id in user.chains:
                    raise LayerInUse(shown, each.index, user.who, user.end)

    def _can_be_replaced(self, chain: ChainID) -> bool:
        cache_id = read_cache_id(self._core.layers, chain)
        return cache_id is not None and self._core.driver.can_be_replaced(cache_id)

    def _stale(self, done: Sequence[RepairedLayer]) -> Iterator[str]:
        """Who has files mounted that are no longer the layer's."""
        derived = self._core.driver.derived
        replaced = {each.chain_id: each for each in done if each.fetched or derived & set(each.files)}
        for user in self._users() if replaced else ():
            for chain in user.chains & replaced.keys():
                layer = replaced[chain].layer
                yield f"{user.who} still has the old files of layer {layer}: {user.renew}"

    def _users(self) -> Iterator[_User]:
        """Running containers and mounts."""
        for container in known_containers(self._core.layout):
            if container.running:
                name = container.short_id
                chains = self._chains(container.image_id)
                end, renew = f"stop it: docker stop {name}", f"start it anew: docker restart {name}"
                yield _User(chains, f"running container {name}", end, renew)
        for mount in Mounts(self._core).list():
            chains = self._chains(mount.image_id)
            end = f"unmount it: onggi image unmount {mount.path}"
            yield _User(chains, f"the mount on {mount.path}", end, f"{end}, and mount it again")

    def _chains(self, image_id: ImageID) -> set[ChainID]:
        if image_id not in self._core.images:
            return set()
        return set(self._core.images.get(image_id).chain_ids)


def _is_content(flaw: Flaw, driver: str) -> bool:
    """The layer itself is damaged or gone: everything around it is made anew when it comes again."""
    return not flaw.mendable and flaw.file.startswith(f"{driver}/")

"""The platforms of a name: which images they are, and the index that names them all (docker-engine §2.6).

Docker's store holds one platform a name. The others that belong to ``app:1`` are here as

    app:1-arm64      a name of its own, ending in its platform ("-linux-arm64", "-arm-v7", "-armv7" too)
    <an image>       a member of the index that app:1's image was pulled by last, named or not

An image with a name of its own wins, since a user has said so. Where exactly the members of that index
are pushed, and each is the manifest that it lists, the very index goes too and its digest stays; else one is
written: a manifest list of Docker's for Docker's manifests, byte for byte what ``docker manifest push``
writes, and an OCI index where one of the members is OCI's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from onggi.errors import InvalidArgument
from onggi.oci import media_types
from onggi.oci.descriptor import Descriptor
from onggi.oci.digest import Digest, ImageID
from onggi.oci.image_config import ImageConfig
from onggi.oci.manifest import Index, Manifest, parse_manifest
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference
from onggi.record import record
from onggi.store.imagedb import ImageDB
from onggi.store.manifests import ManifestDB
from onggi.store.tags import TagStore

__all__ = ["HeldPlatforms", "Member", "OtherPlatform", "Way", "compose_index", "platform_of"]


class OtherPlatform(InvalidArgument):
    """The image is not for the platform asked for; Docker's words."""

    def __init__(self, reference: str, held: Sequence[Platform], wanted: Platform) -> None:
        super().__init__(
            f"image with reference {reference} was found but its platform ({', '.join(map(str, held))}) "
            f"does not match the specified platform ({wanted})",
            hint=f"pull it for that platform: onggi pull --platform {wanted} {reference}",
        )


@record
class Member:
    """One platform of a name; ``manifest`` is the one that the index lists, where there is an index."""

    platform: Platform
    image_id: ImageID
    manifest: Manifest | None = None


@record
class Way:
    """A kept index: ``indexes`` within it, itself last; ``leaves`` below it, with the platforms they have."""

    indexes: tuple[Index, ...]
    leaves: Mapping[Digest, Platform | None]

    def fits(self, oci: bool | None) -> bool:
        """True when it is in the form asked for; None asks for none."""
        return oci is None or all(
            (index.media_type == media_types.OCI_INDEX) == oci for index in self.indexes
        )


def platform_of(config: ImageConfig) -> Platform:
    """What an image says that it is for."""
    return Platform(config.os or "linux", config.architecture, config.variant, config.os_version)


# --- which images -------------------------------------------------------------------------------


@record
class HeldPlatforms:
    """Finds the images of a name; reads, and changes nothing."""

    images: ImageDB
    tags: TagStore
    manifests: ManifestDB

    def members(self, reference: Reference, image_id: ImageID) -> list[Member]:
        """All platforms of a tag that are here, sorted by platform; its own image is one of them."""
        listed = list(self._listed(image_id))
        known = {member.image_id: member for member in reversed(listed)}
        own = known.get(image_id) or Member(platform_of(self.images.get(image_id)), image_id)
        named = (known.get(member.image_id, member) for member in self._named(reference))
        found: dict[Platform, Member] = {}
        for member in (own, *named, *listed):
            found.setdefault(member.platform.normalised(), member)
        return sorted(found.values(), key=lambda member: str(member.platform))

    def choose(self, reference: Reference, image_id: ImageID, wanted: Sequence[Platform]) -> list[Member]:
        """The members for these platforms, in this order. Raises OtherPlatform."""
        members = self.members(reference, image_id)
        found = {member.platform.normalised(): member for member in members}
        chosen = {}
        for platform in wanted:
            member = found.get(platform.normalised())
            if member is None:
                raise OtherPlatform(reference.familiar, [member.platform for member in members], platform)
            chosen[platform.normalised()] = member
        return list(chosen.values())

    def _named(self, reference: Reference) -> Iterator[Member]:
        """Images called as the tag, a dash, and their own platform."""
        beginning = f"{reference.tag}-"
        for name, image_id in self.tags.snapshot().items():
            if name.name == reference.name and name.tag is not None and name.tag.startswith(beginning):
                if image_id not in self.images:
                    continue
                platform = platform_of(self.images.get(image_id))
                if platform.normalised() in _readings(name.tag.removeprefix(beginning)):
                    yield Member(platform, image_id)

    def _listed(self, image_id: ImageID) -> Iterator[Member]:
        """Members of the index of an image that are here."""
        way = self.way(image_id)
        if way is None:
            return
        holders = {
            manifest.digest: (holder, manifest)
            for holder in self.manifests.image_ids()
            if holder in self.images
            for manifest in self.manifests.of(holder)
        }
        for digest, platform in way.leaves.items():
            if digest in holders:
                holder, manifest = holders[digest]
                yield Member(platform or platform_of(self.images.get(holder)), holder, manifest)

    def way(self, image_id: ImageID) -> Way | None:
        """The index that an image was pulled by last."""
        top = self._top(image_id)
        return None if top is None else _walk(top, self._indexes())

    def _top(self, image_id: ImageID) -> Index | None:
        indexes = self.manifests.indexes_of(image_id)
        nested = {entry.digest for index in indexes for entry in index.manifests}
        return next((index for index in indexes if index.digest not in nested), None)

    def _indexes(self) -> dict[Digest, Index]:
        holders = self.manifests.image_ids()
        return {index.digest: index for holder in holders for index in self.manifests.indexes_of(holder)}


def _readings(suffix: str) -> list[Platform]:
    """The platforms that the end of a tag may mean: ``arm64``, ``linux-amd64``, ``arm-v7``, ``armv7``."""
    text = suffix.lower().removeprefix("linux-")
    found = [Platform("linux", text)]
    split = re.fullmatch(r"(.+?)-?(v[0-9.]+)", text)
    if split is not None:
        found.append(Platform("linux", split[1], split[2]))
    return [platform.normalised() for platform in found]


def _walk(top: Index, known: Mapping[Digest, Index]) -> Way:
    """Every known index from ``top`` down, each once: a hostile one may list another thousands of times."""
    indexes: dict[Digest, Index] = {}
    leaves: dict[Digest, Platform | None] = {}

    def visit(index: Index) -> None:
        for entry in index.manifests:
            nested = known.get(entry.digest)
            if nested is None:
                leaves.setdefault(entry.digest, entry.platform)
            elif nested.digest not in indexes:
                visit(nested)
        indexes[index.digest] = index

    visit(top)
    return Way(tuple(indexes.values()), leaves)


# --- the document -------------------------------------------------------------------------------


def compose_index(entries: Sequence[Descriptor], *, oci: bool = False) -> Index:
    """An index of these manifests in this order, three spaces deep as Docker's are.

    OCI's where ``oci``, or where a member is.
    """
    oci = oci or any(entry.media_type == media_types.OCI_MANIFEST for entry in entries)
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX if oci else media_types.DOCKER_LIST,
        "manifests": [
            {
                "mediaType": entry.media_type,
                "size": entry.size,
                "digest": entry.digest,
                "platform": _platform_entry(entry.platform),
            }
            for entry in entries
        ],
    }
    index = parse_manifest(json.dumps(document, indent=3).encode())
    assert isinstance(index, Index)
    return index


def _platform_entry(platform: Platform | None) -> dict[str, object]:
    """In the order of Docker's struct, without what is not known."""
    platform = platform or Platform("", "")
    entry: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        entry["os.version"] = platform.os_version
    if platform.os_features:
        entry["os.features"] = list(platform.os_features)
    if platform.variant:
        entry["variant"] = platform.variant
    return entry

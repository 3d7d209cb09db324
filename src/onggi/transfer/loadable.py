"""What every kind of archive of images comes down to: images with the places of their layers, checked.

Ids are computed from the bytes, never read from names (CVE-2014-9358); digests are checked before they
become a name (CVE-2024-3727).
"""

from __future__ import annotations

from collections.abc import Iterable

from onggi.errors import InvalidArgument, NotFound, Unsupported
from onggi.oci.descriptor import Descriptor
from onggi.oci.image_config import ImageConfig
from onggi.oci.manifest import Index, Manifest
from onggi.oci.platform import Platform
from onggi.oci.quoting import printable, quoted
from onggi.oci.reference import Reference
from onggi.record import record
from onggi.store.tags import AmbiguousName
from onggi.transfer.archive_files import BrokenArchive

__all__ = [
    "MAX_CONFIG_BYTES",
    "MAX_IMAGES",
    "MAX_INDEX_BYTES",
    "ForeignImage",
    "InvalidTag",
    "LayerFile",
    "LoadableImage",
    "NoImageForPlatform",
    "PlatformChoice",
    "check_blob",
    "check_count",
    "check_system",
    "parse_config",
    "platform_of",
    "tagged",
]

# Bytes. A manifest.json has about 10 kB an image of 125 layers.
MAX_INDEX_BYTES = 16 * 1024 * 1024
MAX_CONFIG_BYTES = 8 * 1024 * 1024
MAX_IMAGES = 4096


class ForeignImage(Unsupported):
    """An image of another operating system; Docker's words."""

    def __init__(self, system: str) -> None:
        super().__init__(
            f"cannot load {printable(system)} image on linux", hint="only Linux images can be loaded"
        )


class NoImageForPlatform(NotFound):
    """The archive has images, none of them for the platform."""

    def __init__(self, wanted: Platform, offered: Iterable[Platform]) -> None:
        has = ", ".join(sorted({str(platform) for platform in offered}))
        super().__init__(
            f"no image in the archive is for {wanted}",
            hint=f"it has {has}: leave --platform out to load what it has",
        )


class InvalidTag(InvalidArgument):
    """A name in the archive that is none; Docker's words."""

    def __init__(self, text: str) -> None:
        super().__init__(f"invalid tag {quoted(text)}", hint="the archive is not what an image tool writes")


@record
class PlatformChoice:
    """Which platforms of the archive are wanted: ``all``, some, or (neither) what this host would run."""

    platforms: tuple[Platform, ...] = ()
    all: bool = False


@record
class LayerFile:
    """A layer's bytes by name; ``blob`` is what an OCI layout says they are."""

    name: str
    blob: Descriptor | None = None


@record
class LoadableImage:
    """One image of the archive. ``parent`` is what the archive claims it was built on.

    ``documents`` are its manifest and the indexes that lead there, innermost first; ``told``
    False: it is only what another image stands on, and nothing is said of it.
    """

    config: ImageConfig
    layers: tuple[LayerFile, ...]
    references: tuple[Reference, ...] = ()
    parent: str = ""
    documents: tuple[Manifest | Index, ...] = ()
    told: bool = True


def parse_config(raw: bytes) -> ImageConfig:
    """An image's config. Raises InvalidImageConfig, ForeignImage."""
    config = ImageConfig.parse(raw)
    check_system(config.os)
    return config


def check_system(name: str) -> None:
    """Raises ForeignImage for another operating system than Linux; an empty name is Linux."""
    if name not in ("", "linux"):
        raise ForeignImage(name)


def check_count(layers: int, config: ImageConfig) -> None:
    """Raises BrokenArchive when the config names another number of layers."""
    if layers != len(config.diff_ids):
        raise BrokenArchive(
            f"invalid manifest, layers length mismatch: expected {layers}, got {len(config.diff_ids)}"
        )


def tagged(text: str, compat: str) -> Reference:
    """A name with a tag. Raises InvalidReference, InvalidTag, AmbiguousName."""
    reference = Reference.parse(text, compat)
    if reference.tag is None or reference.digest is not None:
        raise InvalidTag(text)
    if reference.familiar_name == "sha256":
        raise AmbiguousName
    return reference


def platform_of(config: ImageConfig) -> Platform:
    """What the image says that it is for, in the spelling that compares."""
    return Platform(config.os or "linux", config.architecture, config.variant).normalised()


def check_blob(descriptor: Descriptor, size: int, digits: str) -> None:
    """Raises BrokenArchive when a blob is not what its descriptor says."""
    if size != descriptor.size:
        raise BrokenArchive(f"blob {descriptor.digest}: {size} bytes, not {descriptor.size}")
    if digits != descriptor.digest.hex:
        raise BrokenArchive(f"blob {descriptor.digest}: its bytes have the digest {digits}")

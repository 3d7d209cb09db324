"""Image configs: parsed for use, kept as bytes for identity.

The image id is the sha256 of the config's bytes, so the bytes that came are the bytes that
stay. What is read from them is what Docker reads: keys fit whatever their case, and a value
of the wrong type refuses the whole config, so that nobody downstream meets a surprise.

config  = { architecture, os, variant?, created?, author?, comment?, docker_version?,
            config?: container, container_config?: container, history?: [ step ],
            rootfs: { type: "layers", diff_ids: [ digest ] } }
step    = { created?, created_by?, author?, comment?, empty_layer? }

Source: OCI image-spec, config.md; docker-engine §8.1.
"""

from __future__ import annotations

from onggi.errors import DataLoss
from onggi.oci.digest import ChainID, DiffID, ImageID, InvalidDigest, chain_ids
from onggi.oci.json_document import load_object, spelled, spelling
from onggi.record import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

__all__ = ["HistoryEntry", "ImageConfig", "InvalidImageConfig"]


class InvalidImageConfig(DataLoss):
    """The config cannot be an image's; the message is Docker's where it has one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, hint="the image is broken where it came from: tell its maintainer")


@record
class HistoryEntry:
    """One step of how the image was made; ``empty_layer`` steps changed only the config.

    ``created`` is text as it came, mostly RFC 3339.
    """

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


@record
class ImageConfig:
    """A parsed config. ``diff_ids``, ``chain_ids`` and ``history`` begin with the base.

    ``document`` is everything it says, with known keys in their usual spelling and command
    lines as lists. ``created`` is text as it came, mostly RFC 3339.
    """

    raw: bytes = field(repr=False)
    id: ImageID
    document: Mapping[str, Any] = field(repr=False, hash=False)
    created: str | None
    author: str
    architecture: str
    variant: str
    os: str
    os_version: str
    docker_version: str
    comment: str
    diff_ids: tuple[DiffID, ...]
    history: tuple[HistoryEntry, ...] = field(repr=False)
    chain_ids: tuple[ChainID, ...] = field(repr=False)

    @classmethod
    def parse(cls, raw: bytes) -> ImageConfig:
        """Raises InvalidImageConfig."""
        document = _load(raw)
        diff_ids = _diff_ids(document)
        history = tuple(_step(entry) for entry in document.get("history") or ())
        if sum(not entry.empty_layer for entry in history) > len(diff_ids):
            raise InvalidImageConfig("too many non-empty layers in History section")
        return cls(
            raw=raw,
            id=ImageID.of(raw),
            document=document,
            created=document.get("created"),
            author=document.get("author") or "",
            architecture=document.get("architecture") or "",
            variant=document.get("variant") or "",
            os=document.get("os") or "",
            os_version=document.get("os.version") or "",
            docker_version=document.get("docker_version") or "",
            comment=document.get("comment") or "",
            diff_ids=diff_ids,
            history=history,
            chain_ids=chain_ids(diff_ids),
        )

    @property
    def config(self) -> Mapping[str, Any]:
        """What a container is started with: Cmd, Env, …; empty when absent.

        Known keys are in Docker's spelling; their values have Docker's types or are None.
        """
        return self.document.get("config") or {}

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels; empty when absent."""
        return self.config.get("Labels") or {}

    def layer_history(self) -> tuple[HistoryEntry | None, ...]:
        """For each diffID the history row that made it; None past the end of a short history."""
        rows = [entry for entry in self.history if not entry.empty_layer]
        padding: list[HistoryEntry | None] = [None] * (len(self.diff_ids) - len(rows))
        return (*rows, *padding)


def _load(raw: bytes) -> dict[str, Any]:
    try:
        document = _IMAGE(load_object(raw), "")
    except ValueError as error:
        raise InvalidImageConfig(f"invalid image JSON: {error}") from error
    if document.get("rootfs") is None:
        raise InvalidImageConfig("invalid image JSON, no RootFS key")
    return document


def _diff_ids(document: Mapping[str, Any]) -> tuple[DiffID, ...]:
    rootfs = document["rootfs"]
    # "MUST generate an error if they encounter an unknown value" (config.md); Docker writes layers.
    if rootfs.get("type") not in (None, "", "layers"):
        raise InvalidImageConfig(f"invalid image JSON: rootfs.type {rootfs['type']!r} is not layers")
    try:
        return tuple(DiffID.parse(text) for text in rootfs.get("diff_ids") or ())
    except InvalidDigest as error:
        raise InvalidImageConfig(f"invalid image JSON: rootfs.diff_ids: {error}") from error


def _step(entry: Mapping[str, Any]) -> HistoryEntry:
    return HistoryEntry(
        entry.get("created"),
        entry.get("created_by") or "",
        entry.get("author") or "",
        entry.get("comment") or "",
        entry.get("empty_layer") or False,
    )


# --- types of the fields ----------------------------------------------------------------------
# A check takes a value that is not None and its place, returns it as Docker would hold it, or
# raises ValueError.


class _Shape:
    """The known fields of one kind of object, each with its check."""

    __slots__ = ("_checks", "_names")

    def __init__(self, checks: Mapping[str, Callable[[Any, str], Any]]) -> None:
        self._checks = checks
        self._names = spelling(*checks)

    def __call__(self, value: Any, place: str) -> dict[str, Any]:
        """``value`` with the known fields checked and in their usual spelling."""
        if not isinstance(value, dict):
            raise ValueError(f"{place} is not an object")
        result = spelled(value, self._names)
        for name, item in result.items():
            check = self._checks.get(name)
            if check is not None and item is not None:
                result[name] = check(item, f"{place}.{name}" if place else name)
        return result


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{place} is not a string")
    return value


def _flag(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{place} is not true or false")
    return value


def _number(value: Any, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{place} is not a whole number")
    return value


def _are_texts(items: Iterable[Any]) -> bool:
    """Strings, or null, which Go holds as an empty string."""
    return all(item is None or isinstance(item, str) for item in items)


def _texts(value: Any, place: str) -> list[str]:
    if not isinstance(value, list) or not _are_texts(value):
        raise ValueError(f"{place} is not a list of strings")
    return [item or "" for item in value]


def _words(value: Any, place: str) -> list[str]:
    """A command line: a list, or one string for a list of one (Docker's StrSlice)."""
    return [value] if isinstance(value, str) else _texts(value, place)


def _text_map(value: Any, place: str) -> dict[str, str]:
    if not isinstance(value, dict) or not _are_texts(value.values()):
        raise ValueError(f"{place} is not an object of strings")
    return {key: item or "" for key, item in value.items()}


def _set(value: Any, place: str) -> dict[str, Any]:
    """A set as Go writes it: the members are the keys."""
    if not isinstance(value, dict):
        raise ValueError(f"{place} is not an object")
    return value


def _steps(value: Any, place: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise ValueError(f"{place} is not a list")
    return [_STEP(entry, f"{place}[{index}]") for index, entry in enumerate(value)]


_ROOT_FS = _Shape({"type": _text, "diff_ids": _texts})
_STEP = _Shape(
    {"created": _text, "created_by": _text, "author": _text, "comment": _text, "empty_layer": _flag}
)
_HEALTH_CHECK = _Shape(
    {
        "Test": _texts,
        "Interval": _number,
        "Timeout": _number,
        "StartPeriod": _number,
        "StartInterval": _number,
        "Retries": _number,
    }
)
_CONTAINER = _Shape(
    {
        "Hostname": _text,
        "Domainname": _text,
        "User": _text,
        "AttachStdin": _flag,
        "AttachStdout": _flag,
        "AttachStderr": _flag,
        "ExposedPorts": _set,
        "Tty": _flag,
        "OpenStdin": _flag,
        "StdinOnce": _flag,
        "Env": _texts,
        "Cmd": _words,
        "Healthcheck": _HEALTH_CHECK,
        "ArgsEscaped": _flag,
        "Image": _text,
        "Volumes": _set,
        "WorkingDir": _text,
        "Entrypoint": _words,
        "NetworkDisabled": _flag,
        "MacAddress": _text,
        "OnBuild": _texts,
        "Labels": _text_map,
        "StopSignal": _text,
        "StopTimeout": _number,
        "Shell": _words,
    }
)
_IMAGE = _Shape(
    {
        "architecture": _text,
        "author": _text,
        "comment": _text,
        "config": _CONTAINER,
        "container": _text,
        "container_config": _CONTAINER,
        "created": _text,
        "docker_version": _text,
        "history": _steps,
        "os": _text,
        "os.features": _texts,
        "os.version": _text,
        "rootfs": _ROOT_FS,
        "variant": _text,
    }
)

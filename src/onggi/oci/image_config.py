"""Image configs: parsed for use, kept as bytes for identity.

The image id is the sha256 of the config's bytes, so the bytes that came are the bytes that
stay (docker-engine §8.1; OCI image-spec, config.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onggi.errors import DataLoss, InvalidArgument
from onggi.oci.digest import ChainID, DiffID, ImageID, chain_ids

__all__ = ["HistoryEntry", "ImageConfig", "InvalidImageConfig"]


class InvalidImageConfig(DataLoss):
    """The config cannot be an image's; the message is Docker's where it has one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, hint="the image is broken where it came from: tell its maintainer")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One step of how the image was made; ``empty_layer`` steps changed only the config."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """A parsed config. ``document`` is everything it says; the fields are what Onggi uses."""

    raw: bytes
    id: ImageID
    document: Mapping[str, Any]
    created: str | None
    author: str
    architecture: str
    variant: str
    os: str
    os_version: str
    docker_version: str
    comment: str
    diff_ids: tuple[DiffID, ...]
    history: tuple[HistoryEntry, ...]
    chain_ids: tuple[ChainID, ...] = field(repr=False)

    @classmethod
    def parse(cls, raw: bytes) -> ImageConfig:
        """Raises InvalidImageConfig."""
        document = _load(raw)
        diff_ids = _diff_ids(document)
        history = tuple(_history(entry) for entry in _list(document.get("history"), "history"))
        if sum(not entry.empty_layer for entry in history) > len(diff_ids):
            raise InvalidImageConfig("too many non-empty layers in History section")
        config = document.get("config")
        if config is not None and not isinstance(config, dict):
            raise InvalidImageConfig("invalid image JSON, config is not an object")
        return cls(
            raw=raw,
            id=ImageID.of(raw),
            document=document,
            created=document["created"] if isinstance(document.get("created"), str) else None,
            author=_text(document, "author"),
            architecture=_text(document, "architecture"),
            variant=_text(document, "variant"),
            os=_text(document, "os"),
            os_version=_text(document, "os.version"),
            docker_version=_text(document, "docker_version"),
            comment=_text(document, "comment"),
            diff_ids=diff_ids,
            history=history,
            chain_ids=chain_ids(diff_ids),
        )

    @property
    def config(self) -> Mapping[str, Any]:
        """What a container is started with: Cmd, Env, …; empty when absent."""
        return self.document.get("config") or {}

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels; empty when absent."""
        labels = self.config.get("Labels")
        return labels if isinstance(labels, dict) else {}

    def layer_history(self) -> tuple[HistoryEntry | None, ...]:
        """For each diffID the history row that made it; None past the end of a short history."""
        rows = [entry for entry in self.history if not entry.empty_layer]
        padding: list[HistoryEntry | None] = [None] * (len(self.diff_ids) - len(rows))
        return (*rows, *padding)


def _load(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidImageConfig(f"invalid image JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidImageConfig("invalid image JSON: not an object")
    return document


def _diff_ids(document: Mapping[str, Any]) -> tuple[DiffID, ...]:
    rootfs = document.get("rootfs")
    if not isinstance(rootfs, dict):
        raise InvalidImageConfig("invalid image JSON, no RootFS key")
    if rootfs.get("type", "layers") != "layers":
        raise InvalidImageConfig(f"invalid image JSON, RootFS type {rootfs.get('type')!r} is not supported")
    try:
        return tuple(DiffID.parse(str(text)) for text in _list(rootfs.get("diff_ids"), "diff_ids"))
    except InvalidArgument as error:
        raise InvalidImageConfig(f"invalid image JSON, diff_ids: {error}") from error


def _history(entry: Any) -> HistoryEntry:
    if not isinstance(entry, dict):
        raise InvalidImageConfig("invalid image JSON, history is not a list of objects")
    created = entry.get("created")
    return HistoryEntry(
        created if isinstance(created, str) else None,
        _text(entry, "created_by"),
        _text(entry, "author"),
        _text(entry, "comment"),
        entry.get("empty_layer") is True,
    )


def _list(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidImageConfig(f"invalid image JSON, {where} is not a list")
    return value


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""

"""Two stores over one pair of pipes (``ssh host onggi sync-serve``): the wire, and both ends of it.

A frame is::

    kind     1 byte
    length   4 bytes, big endian: of the payload; at most 16 MiB, of D at most 1 MiB
    payload

The called side begins with ``H``, the caller answers ``H`` and ``B``. Then the store that takes asks
(``L``, ``W``) and the store that gives answers (``O``… ``.``; ``D``… ``E``), whichever of them was
called; one question at a time. ``X`` may stand for any answer. A store that takes and was called
ends with ``R``.

======  ==============  ==================================================================
kind    from            payload
======  ==============  ==================================================================
``H``   both            JSON {"protocol": "onggi-sync", "version": 1}
``B``   caller          JSON {"role": "source"} or {"role": "sink", "names", "dry_run"}: what
                        the called side shall be
``L``   taker           JSON {"names": [text]}: which images are there?
``O``   giver           JSON {"config": base64, "names": [reference], "layers": [{"size",
                        "sources": [{"Digest", "SourceRepository", "HMAC"}]}]}: one image
``.``   giver           empty: no more images
``W``   taker           the chainID of a layer of an image offered: send it
``D``   giver           bytes of the layer's uncompressed tar
``E``   giver           empty: the layer is complete
``R``   called taker    JSON: a list of what became of each image
``X``   both            JSON {"kind", "message", "hint"}: an error; the sender gives up
======  ==============  ==================================================================

Nothing that comes is trusted: sizes are limited, texts are parsed, layers are proven by diffID.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from onggi import errors
from onggi.errors import DataLoss, InvalidArgument, OnggiError, Unavailable
from onggi.oci.digest import ChainID, DiffID, Digest, ImageID
from onggi.oci.image_config import ImageConfig
from onggi.oci.reference import Reference
from onggi.progress import LayerStatus
from onggi.store.distribution import BlobSource
from onggi.transfer.reporter import Reporter
from onggi.transfer.sync import Offer, OfferedLayer, Source, Synced

__all__ = [
    "Channel",
    "ChannelBroken",
    "RemoteSource",
    "answer",
    "greet",
    "report_document",
    "serve_source",
]

_HEADER = struct.Struct(">cI")
_KINDS = (b"H", b"B", b"L", b"O", b".", b"W", b"D", b"E", b"R")
_VERSION = {"protocol": "onggi-sync", "version": 1}
_MAX_PAYLOAD_BYTES, _MAX_DATA_BYTES = 16 << 20, 1 << 20
# Images one side may offer: more is no store's answer but an attempt to fill our memory.
_MAX_OFFERS = 10_000
# Blobs one layer may come with: as many as Docker keeps.
_MAX_SOURCES = 50
_MAX_MESSAGE = 2000
_HMAC_DIGITS = 64


class ChannelBroken(Unavailable):
    """The other side went away, or does not speak this protocol."""

    def __init__(self, name: str, reason: str, hint: str = "") -> None:
        super().__init__(
            f"sync with {name}: {reason}",
            hint=hint or "what arrived whole is kept; the same command goes on from there",
        )
        self.reason = reason


class Channel:
    """Frames over a reader and a writer, which it owns. ``name`` is what errors call the other side."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO, name: str) -> None:
        self.name = name
        self._reader = reader
        self._writer = writer

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """One frame. Raises the other side's error, if it ended with one, or ChannelBroken."""
        try:
            self._writer.write(_HEADER.pack(kind, len(payload)))
            self._writer.write(payload)
            self._writer.flush()
        except (OSError, ValueError):
            raise self._last_word() from None

    def send_json(self, kind: bytes, document: object) -> None:
        """One frame of JSON."""
        self.send(kind, json.dumps(document, separators=(",", ":")).encode())

    def _last_word(self) -> OnggiError:
        """Why the other side stopped listening."""
        try:
            while True:
                self.receive(*_KINDS)
        except OnggiError as error:
            return error

    def receive(self, *kinds: bytes) -> tuple[bytes, bytes]:
        """The next frame's kind, which must be one of ``kinds``, and its payload.

        Raises ChannelBroken, or the error that an ``X`` tells.
        """
        kind, length = _HEADER.unpack(self._read(_HEADER.size))
        if kind not in kinds and kind != b"X":
            raise self._no_protocol(kind)
        if length > (_MAX_DATA_BYTES if kind == b"D" else _MAX_PAYLOAD_BYTES):
            raise ChannelBroken(
                self.name, f"a frame of {length} bytes", "the other side is broken or hostile"
            )
        payload = self._read(length)
        if kind == b"X":
            raise self._told(payload)
        return kind, payload

    def parse(self, payload: bytes) -> Any:
        """A payload of JSON. Raises ChannelBroken."""
        try:
            return json.loads(payload)
        except (ValueError, RecursionError):
            raise self._no_protocol(payload[:1]) from None

    def _read(self, size: int) -> bytes:
        try:
            data = self._reader.read(size) if size else b""
        except (OSError, ValueError):
            data = b""
        if len(data) < size:
            raise ChannelBroken(self.name, "the connection ended")
        return data

    def _no_protocol(self, found: bytes) -> ChannelBroken:
        return ChannelBroken(
            self.name,
            f"it does not speak this protocol (got {found!r})",
            "is the same version of onggi installed there, and does its shell print nothing at login?",
        )

    def _told(self, payload: bytes) -> OnggiError:
        """The other side's error as one of ours: its kind, its words cut and printable."""
        document = self.parse(payload)
        if not isinstance(document, dict):
            return self._no_protocol(b"X")
        message, hint = (_printable(document.get(key)) for key in ("message", "hint"))
        kind = errors.__dict__.get(str(document.get("kind")))
        if not (isinstance(kind, type) and issubclass(kind, OnggiError)):
            kind = Unavailable
        return kind(f"{self.name}: {message}", hint=hint)

    def tell(self, error: BaseException) -> None:
        """Send an error as the last word; a channel that is gone already is no matter."""
        kind = next((base.__name__ for base in type(error).__mro__ if base.__name__ in errors.__dict__), "")
        document = {"kind": kind, "message": str(error), "hint": getattr(error, "hint", "")}
        try:
            self.send_json(b"X", document)
        except OnggiError:
            return

    def close(self) -> None:
        """Close both pipes."""
        for pipe in (self._writer, self._reader):
            try:
                pipe.close()
            except OSError:
                continue


def _printable(text: object) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in str(text or ""))
    return shown[:_MAX_MESSAGE]


# --- how it begins ----------------------------------------------------------------------------


def greet(channel: Channel, begin: dict[str, object]) -> None:
    """The caller's first words. Raises ChannelBroken."""
    _check_version(channel)
    channel.send_json(b"H", _VERSION)
    channel.send_json(b"B", begin)


def answer(channel: Channel) -> dict[str, Any]:
    """The called side's first words; what the caller wants it to be. Raises ChannelBroken."""
    channel.send_json(b"H", _VERSION)
    _check_version(channel)
    begin = channel.parse(channel.receive(b"B")[1])
    if not isinstance(begin, dict) or begin.get("role") not in ("source", "sink"):
        raise ChannelBroken(channel.name, "it asks for no role that is known")
    return begin


def _check_version(channel: Channel) -> None:
    found = channel.parse(channel.receive(b"H")[1])
    if found != _VERSION:
        raise ChannelBroken(
            channel.name, "it speaks another version of this protocol", "use one version of onggi"
        )


# --- the giving end ---------------------------------------------------------------------------


def serve_source(channel: Channel, source: Source, reporter: Reporter | None = None) -> list[Synced]:
    """Answer what the other side asks until it ends; what it reports at its end, or nothing.

    Raises the other side's error, ChannelBroken, and the source's (which the other side hears too).
    """
    offered: dict[ChainID, tuple[DiffID, int]] = {}
    while True:
        try:
            kind, payload = channel.receive(b"L", b"W", b"R")
        except ChannelBroken:
            if reporter is None:
                return []  # the caller has all it wants
            raise
        if kind == b"R":
            return _parse_report(channel, payload)
        try:
            if kind == b"L":
                _send_offers(channel, source, payload, offered)
            else:
                _send_layer(channel, source, payload, offered, reporter)
        except OnggiError as error:
            channel.tell(error)
            raise


def _send_offers(
    channel: Channel, source: Source, payload: bytes, offered: dict[ChainID, tuple[DiffID, int]]
) -> None:
    document = channel.parse(payload)
    names = document.get("names") if isinstance(document, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ChannelBroken(channel.name, "a list of names was expected")
    for offer in source.offers(names):
        config = offer.config
        for chain, diff_id, layer in zip(config.chain_ids, config.diff_ids, offer.layers, strict=True):
            offered[chain] = diff_id, layer.size_bytes
        channel.send_json(b"O", _offer_document(offer))
    channel.send(b".")


def _send_layer(
    channel: Channel,
    source: Source,
    payload: bytes,
    offered: dict[ChainID, tuple[DiffID, int]],
    reporter: Reporter | None,
) -> None:
    chain = ChainID(payload.decode("ascii", "replace"))
    if chain not in offered:
        raise InvalidArgument(f"sync: layer {_printable(chain[:80])} was not offered")
    diff_id, expected = offered[chain]
    sent = 0
    for piece in source.layer(chain):
        for start in range(0, len(piece), _MAX_DATA_BYTES):
            channel.send(b"D", piece[start : start + _MAX_DATA_BYTES])
        sent += len(piece)
        if reporter is not None:
            reporter.layer(diff_id.short, LayerStatus.DOWNLOADING, sent, max(sent, expected))
    channel.send(b"E")
    if reporter is not None:
        reporter.layer(diff_id.short, LayerStatus.COMPLETE)


def _offer_document(offer: Offer) -> dict[str, object]:
    return {
        "config": b64encode(offer.config.raw).decode(),
        "names": [str(reference) for reference in offer.names],
        "layers": [
            {
                "size": layer.size_bytes,
                "sources": [
                    {"Digest": s.digest, "SourceRepository": s.repository, "HMAC": s.hmac}
                    for s in layer.sources
                ],
            }
            for layer in offer.layers
        ],
    }


# --- the taking end ---------------------------------------------------------------------------


class RemoteSource:
    """The store at the other end of a channel."""

    def __init__(self, channel: Channel) -> None:
        self.name = channel.name
        self.lanes = 1
        self._channel = channel

    def offers(self, names: Sequence[str]) -> list[Offer]:
        """See :class:`~onggi.transfer.sync.Source`."""
        self._channel.send_json(b"L", {"names": list(names)})
        offers: list[Offer] = []
        while True:
            kind, payload = self._channel.receive(b"O", b".")
            if kind == b".":
                return offers
            if len(offers) == _MAX_OFFERS:
                raise ChannelBroken(self.name, f"it offers more than {_MAX_OFFERS} images")
            offers.append(self._parse(payload))

    def _parse(self, payload: bytes) -> Offer:
        try:
            return _parse_offer(self._channel.parse(payload))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ChannelBroken(self.name, "an image was expected") from None

    def layer(self, chain: ChainID) -> Iterator[bytes]:
        """See :class:`~onggi.transfer.sync.Source`."""
        self._channel.send(b"W", chain.encode("ascii"))
        while True:
            kind, payload = self._channel.receive(b"D", b"E")
            if kind == b"E":
                return
            yield payload


def _parse_offer(document: dict[str, Any]) -> Offer:
    config = ImageConfig.parse(b64decode(document["config"], validate=True))
    names = tuple(Reference.parse(text) for text in document["names"])
    if any(name.is_name_only for name in names):
        raise ValueError("a name without tag and digest")
    return Offer(config, names, tuple(map(_parse_layer, document["layers"])))


def _parse_layer(document: dict[str, Any]) -> OfferedLayer:
    size = document["size"]
    if type(size) is not int or size < 0:
        raise ValueError("size")
    return OfferedLayer(size, tuple(map(_parse_source, document["sources"][-_MAX_SOURCES:])))


def _parse_source(document: dict[str, Any]) -> BlobSource:
    repository = Reference.parse(document["SourceRepository"]).name
    hmac = document["HMAC"]
    if hmac and (len(hmac) != _HMAC_DIGITS or set(hmac) - set("0123456789abcdef")):
        raise ValueError("HMAC")
    return BlobSource(Digest.parse(document["Digest"]), repository, hmac)


# --- what became of it ------------------------------------------------------------------------


def report_document(synced: Sequence[Synced]) -> list[dict[str, object]]:
    """The payload of ``R``, and what ``--json`` prints."""
    return [
        {
            "ID": item.image_id,
            "Names": list(item.names),
            "Layers": item.layers,
            "Missing": list(item.missing),
            "MissingBytes": item.missing_bytes,
            "New": item.new,
        }
        for item in synced
    ]


def _parse_report(channel: Channel, payload: bytes) -> list[Synced]:
    try:
        return [_parse_synced(item) for item in channel.parse(payload)]
    except (KeyError, TypeError, ValueError, AttributeError, OnggiError) as error:
        if isinstance(error, ChannelBroken | DataLoss):
            raise
        raise ChannelBroken(channel.name, "a report was expected") from None


def _parse_synced(item: dict[str, Any]) -> Synced:
    return Synced(
        ImageID.parse(item["ID"]),
        tuple(_printable(name) for name in item["Names"]),
        int(item["Layers"]),
        tuple(DiffID.parse(text) for text in item["Missing"]),
        int(item["MissingBytes"]),
        bool(item["New"]),
    )

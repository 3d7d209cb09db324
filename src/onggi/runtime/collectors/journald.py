"""The driver ``journald``: fields in datagrams to systemd's journal.

datagram = { field }
field    = NAME "=" value newline                                   (no newline in the value)
         | NAME newline length (8 bytes, little-endian) value newline

What is too large for a datagram goes as a sealed file whose descriptor is sent.

Source: systemd, "Native Journal Protocol"; moby ``daemon/logger/journald``.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Mapping

from onggi.runtime.collectors.collector import About, CollectorError, complain
from onggi.runtime.supervisor.messages import Message

__all__ = ["Journald", "check_options"]

_SOCKET = "/run/systemd/journal/socket"
_ERROR, _INFO = b"3", b"6"
_LENGTH = struct.Struct("<Q")
_TIMEOUT_S = 10.0


def check_options(options: Mapping[str, str]) -> None:
    """It takes none of its own."""


class Journald:
    """Sends each message at once."""

    def __init__(self, about: About, options: Mapping[str, str]) -> None:
        fields = {
            "CONTAINER_ID": about.id[:12],
            "CONTAINER_ID_FULL": about.id,
            "CONTAINER_NAME": about.name,
            "CONTAINER_TAG": about.tag,
            "IMAGE_NAME": about.image_name,
            "SYSLOG_IDENTIFIER": about.tag,
        }
        fields |= {field_name(name): value for name, value in about.attributes.items() if field_name(name)}
        self._fields = b"".join(_field(name.encode(), value.encode()) for name, value in fields.items())
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(_TIMEOUT_S)

    def open(self) -> None:
        try:
            self._socket.connect(_SOCKET)
        except OSError as error:
            raise CollectorError("journald is not enabled on this host") from error

    def send(self, message: Message) -> None:
        priority = _ERROR if message.stream == "stderr" else _INFO
        data = _field(b"PRIORITY", priority) + _field(b"MESSAGE", message.line) + self._fields
        if message.partial_id:
            data += _partial(message)
        try:
            self._deliver(data)
        except OSError as error:
            complain(f"journald: {error.strerror or error}")

    def _deliver(self, data: bytes) -> None:
        try:
            self._socket.sendto(data, _SOCKET)  # by name: a journal that was restarted is found
        except OSError as error:
            if not isinstance(error, TimeoutError) and error.errno in _TOO_LARGE:
                self._deliver_file(data)
                return
            raise

    def _deliver_file(self, data: bytes) -> None:
        fd = os.memfd_create("journal-message", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            socket.send_fds(self._socket, [b""], [fd])
        finally:
            os.close(fd)

    def wait_s(self) -> None:
        return None

    def tick(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        self._socket.close()


_TOO_LARGE = (90, 105)  # EMSGSIZE, ENOBUFS
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def _field(name: bytes, value: bytes) -> bytes:
    if b"\n" in value:
        return name + b"\n" + _LENGTH.pack(len(value)) + value + b"\n"
    return name + b"=" + value + b"\n"


def _partial(message: Message) -> bytes:
    fields = [
        (b"CONTAINER_PARTIAL_ID", message.partial_id.encode()),
        (b"CONTAINER_PARTIAL_ORDINAL", b"%d" % message.ordinal),
        (b"CONTAINER_PARTIAL_LAST", b"true" if message.last else b"false"),
    ]
    if not message.last:
        fields.append((b"CONTAINER_PARTIAL_MESSAGE", b"true"))
    return b"".join(_field(name, value) for name, value in fields)


def field_name(name: str) -> str:
    """Capitals, digits and underscores, with no underscore in front."""
    upper = "".join(
        character.upper() if character.isascii() and character.isalnum() else "_" for character in name
    )
    return upper.lstrip("_")

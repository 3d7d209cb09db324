"""Where a collector begins: settings, an answer, then messages until the end of the stream."""

from __future__ import annotations

import json
import select
import signal
import socket
from importlib import import_module

from onggi.runtime.collectors.collector import About, Collector, CollectorError
from onggi.runtime.collectors.protocol import FRAME, LENGTH, STREAMS
from onggi.runtime.supervisor.messages import MessageSplitter

TYPE_CHECKING = False  # a collector runs beside every container that asks for one: it is to be small
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COLLECTORS", "main"]

_RECEIVE_BYTES = 256 * 1024

COLLECTORS = {
    "awslogs": "awslogs:AwsLogs",
    "fluentd": "fluentd:Fluentd",
    "gcplogs": "gcplogs:GcpLogs",
    "gelf": "gelf:Gelf",
    "journald": "journald:Journald",
    "splunk": "splunk:Splunk",
    "syslog": "syslog:Syslog",
}


def main() -> None:
    """Serve standard input, a stream socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=0)
    received = bytearray()
    settings = json.loads(_receive_settings(connection, received))
    try:
        collector = _make(settings["driver"])(About(settings["about"]), settings["options"])
        collector.open()
    except (CollectorError, ValueError) as error:
        _answer(connection, error=str(error))
        return
    _answer(connection, ready=True)
    _serve(connection, received, collector)
    collector.close()


def _make(driver: str) -> Callable[[About, dict[str, str]], Collector]:
    module, _, name = COLLECTORS[driver].partition(":")
    made: Callable[[About, dict[str, str]], Collector] = getattr(
        import_module(f"onggi.runtime.collectors.{module}"), name
    )
    return made


def _answer(connection: socket.socket, **fields: object) -> None:
    connection.sendall(json.dumps(fields).encode() + b"\n")


def _receive_settings(connection: socket.socket, received: bytearray) -> bytes:
    while len(received) < LENGTH.size or len(received) < LENGTH.size + LENGTH.unpack_from(received)[0]:
        data = connection.recv(_RECEIVE_BYTES)
        if not data:
            raise SystemExit(0)  # the supervisor has gone
        received += data
    end = LENGTH.size + LENGTH.unpack_from(received)[0]
    settings = bytes(received[LENGTH.size : end])
    del received[:end]
    return settings


def _serve(connection: socket.socket, received: bytearray, collector: Collector) -> None:
    messages = MessageSplitter()
    _take(received, messages, collector)
    while True:
        ready, _, _ = select.select([connection], [], [], collector.wait_s())
        if not ready:
            collector.tick()
            continue
        data = connection.recv(_RECEIVE_BYTES)
        if not data:
            return
        received += data
        _take(received, messages, collector)
        if collector.wait_s() == 0:
            collector.tick()


def _take(received: bytearray, messages: MessageSplitter, collector: Collector) -> None:
    """Send on what has come whole."""
    while len(received) >= FRAME.size:
        length, stream, time_ns = FRAME.unpack_from(received)
        end = FRAME.size + length
        if len(received) < end:
            return
        piece = bytes(received[FRAME.size : end])
        del received[:end]
        for message in messages.split(STREAMS[stream], piece, time_ns):
            collector.send(message)

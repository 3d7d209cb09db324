"""The driver ``awslogs``: Amazon CloudWatch Logs, by boto3 (the extra ``awslogs``).

Events go in batches: after 5 seconds (``awslogs-force-flush-interval-seconds``), 10,000 events or 1 MiB,
each event counting 26 bytes more than its text; a longer one is cut. With a pattern several lines are
one event: it begins where the pattern matches, and ends with the next one.

Source: moby ``daemon/logger/awslogs``; CloudWatch Logs API, PutLogEvents.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from onggi.runtime.collectors.collector import About, CollectorError, complain, text_of
from onggi.runtime.collectors.option_values import boolean
from onggi.runtime.supervisor.messages import Message

TYPE_CHECKING = False  # a collector runs beside every container that asks for one: it is to be small
if TYPE_CHECKING:
    from typing import Any

__all__ = ["AwsLogs", "check_options"]

_FLUSH_S = 5.0
_EVENT_OVERHEAD = 26
_MAX_EVENT_BYTES = 262_144 - _EVENT_OVERHEAD
_MAX_BATCH_BYTES, _MAX_BATCH_EVENTS = 1_048_576, 10_000
# strftime's letters, as what they look like.
_DATE_PARTS = {
    "A": r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day",
    "a": r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)",
    "B": r"(?:January|February|March|April|May|June|July|August|September|October|November|December)",
    "b": r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)",
    "c": r"\w{3}\s+\w{3}\s+\d{1,2}\s\d{2}:\d{2}:\d{2}\s\d{4}",
    "d": r"(?:3[0-1]|[1-2]\d|0[1-9]|[1-9]| [1-9])",
    "f": r"\d+",
    "H": r"(?:2[0-3]|[01]\d|\d)",
    "I": r"(?:1[0-2]|0[1-9]|[1-9])",
    "j": r"(?:[0-2]?\d?\d|3[0-5]\d|36[0-6])",
    "L": r"\.\d{3}",
    "M": r"[0-5]?\d",
    "m": r"(?:1[0-2]|0[1-9]|[1-9])",
    "p": r"[AaPp][Mm]",
    "S": r"(?:6[01]|[0-5]?\d)",
    "U": r"(?:[0-4]?\d|5[0-3])",
    "w": r"[0-6]",
    "y": r"\d{2}",
    "Y": r"\d{4}",
    "Z": r"[A-Z]{1,4}T",
    "z": r"[+-]\d{4}",
    "%": r"%",
}


def check_options(options: Mapping[str, str]) -> None:
    """Raises ValueError as dockerd does when a container is made."""
    if not options.get("awslogs-group"):
        raise ValueError("must specify a value for log opt 'awslogs-group'")
    for name in ("awslogs-create-group", "awslogs-create-stream"):
        try:
            boolean(options.get(name, "false"))
        except ValueError as error:
            raise ValueError(f"must specify valid value for log opt '{name}': {error}") from error
    for name in ("awslogs-force-flush-interval-seconds", "awslogs-max-buffered-events"):
        text = options.get(name, "1")
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            raise ValueError(f"must specify a positive integer for log opt '{name}': {text}")
    if "awslogs-datetime-format" in options and "awslogs-multiline-pattern" in options:
        raise ValueError(
            "you cannot configure log opt 'awslogs-datetime-format' and 'awslogs-multiline-pattern' "
            "at the same time"
        )


def _pattern(options: Mapping[str, str]) -> re.Pattern[str] | None:
    """What a new event begins with; None: every line is one."""
    if "awslogs-datetime-format" in options:
        format = options["awslogs-datetime-format"]
        text = re.sub(r"%(.)", lambda match: _DATE_PARTS.get(match[1], match[1]), re.escape(format))
        return re.compile(text.replace(r"\%", "%"))
    text = options.get("awslogs-multiline-pattern", "")
    if not text:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise CollectorError(f"awslogs could not parse multiline pattern key '{text}': {error}") from error


class AwsLogs:
    """One log stream."""

    def __init__(self, about: About, options: Mapping[str, str]) -> None:
        self._options = options
        self._group = options["awslogs-group"]
        default = about.tag if options.get("tag") else about.id
        self._stream = options.get("awslogs-stream") or default
        self._starts = _pattern(options)
        self._period_s = float(options.get("awslogs-force-flush-interval-seconds", _FLUSH_S))
        self._client: Any = None
        self._event: list[str] = []
        self._event_ms = 0
        self._waiting: list[dict[str, Any]] = []
        self._waiting_bytes = 0
        self._due = 0.0

    def open(self) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise CollectorError(
                "awslogs needs Amazon's SDK, which is not installed: pip install 'onggi[awslogs]'"
            ) from error
        self._failures = (BotoCoreError, ClientError)
        config = Config(connect_timeout=10, read_timeout=30, retries={"total_max_attempts": 3})
        try:
            self._client = boto3.client(
                "logs",
                region_name=self._options.get("awslogs-region"),
                endpoint_url=self._options.get("awslogs-endpoint"),
                config=config,
            )
            self._make_stream()
        except self._failures as error:
            raise CollectorError(f"failed to create Cloudwatch log stream: {error}") from error

    def _make_stream(self) -> None:
        if not boolean(self._options.get("awslogs-create-stream", "true")):
            return
        names = {"logGroupName": self._group, "logStreamName": self._stream}
        try:
            self._allow_existing(self._client.create_log_stream, **names)
        except self._client.exceptions.ResourceNotFoundException:
            if not boolean(self._options.get("awslogs-create-group", "false")):
                raise
            self._allow_existing(self._client.create_log_group, logGroupName=self._group)
            self._allow_existing(self._client.create_log_stream, **names)

    def _allow_existing(self, create: Any, **names: str) -> None:
        try:
            create(**names)
        except self._client.exceptions.ResourceAlreadyExistsException:
            return

    def send(self, message: Message) -> None:
        text, moment_ms = text_of(message.line), message.time_ns // 10**6
        if self._starts is None:
            self._queue(text, moment_ms)
            return
        if self._starts.search(text) or not self._event:
            self._end_event()
            self._event_ms = moment_ms
            self._due = time.monotonic() + self._period_s
        self._event.append(f"{text}\n" if message.last else text)

    def _end_event(self) -> None:
        text, self._event = "".join(self._event), []
        if text:
            self._queue(text, self._event_ms)

    def _queue(self, text: str, moment_ms: int) -> None:
        """An event, or several where it is too long; an empty one is refused."""
        for piece in _cut(text):
            size = len(piece.encode()) + _EVENT_OVERHEAD
            if len(self._waiting) >= _MAX_BATCH_EVENTS or self._waiting_bytes + size > _MAX_BATCH_BYTES:
                self._post()
            if not self._waiting:
                self._due = time.monotonic() + self._period_s
            self._waiting.append({"timestamp": moment_ms, "message": piece})
            self._waiting_bytes += size

    def wait_s(self) -> float | None:
        if not self._waiting and not self._event:
            return None
        return max(0.0, self._due - time.monotonic())

    def tick(self) -> None:
        if time.monotonic() >= self._due:
            self._end_event()
            self._post()

    def _post(self) -> None:
        """What cannot be sent is told, and lost: the SDK has tried again by then."""
        events, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not events:
            return
        events.sort(key=lambda event: event["timestamp"])
        try:
            self._client.put_log_events(
                logGroupName=self._group, logStreamName=self._stream, logEvents=events
            )
        except self._failures as error:
            complain(f"Failed to put log events: {error}")

    def close(self) -> None:
        self._end_event()
        self._post()


def _cut(text: str) -> list[str]:
    """Pieces that an event may have, no character cut in two."""
    data = text.encode()
    if len(data) <= _MAX_EVENT_BYTES:
        return [text] if text else []
    pieces = []
    while data:
        end = _MAX_EVENT_BYTES
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(data[:end].decode())
        data = data[end:]
    return pieces

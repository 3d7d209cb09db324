"""What dockerd 20.10 and Docker's client 28.2 wrote for the same events, to the byte."""

from __future__ import annotations

import fcntl
import io
import json
import os
import struct
import termios

import pytest

from onggi.cli.output import UNKNOWN_WIDTH, Output
from onggi.cli.progress import (
    JSONProgress,
    PlainProgress,
    TerminalProgress,
    progress_bar,
    progress_sink,
)
from onggi.progress import LayerProgress, LayerStatus, Message, ProgressEvent, discard

ID, OTHER = "ddc5d4cf8388", "471954329697"
TOTAL = 1_069_000
EVENTS: list[ProgressEvent] = [
    Message("Pulling from library/busybox", "latest"),
    LayerProgress(ID, LayerStatus.PULLING),
    LayerProgress(ID, LayerStatus.DOWNLOADING, 32768, TOTAL),
    LayerProgress(ID, LayerStatus.VERIFYING),
    LayerProgress(ID, LayerStatus.DOWNLOADED),
    LayerProgress(ID, LayerStatus.EXTRACTING, TOTAL, TOTAL),
    LayerProgress(ID, LayerStatus.COMPLETE),
    Message("Digest: sha256:bcf7"),
    Message("Status: Downloaded newer image for busybox:latest"),
]


def drawn(kind: type, events: list[ProgressEvent], width: int = 80) -> str:
    stream = io.BytesIO()
    out = Output(stream)
    type(out).width, before = property(lambda self: width), Output.width
    try:
        sink = kind(out)
        for event in events:
            sink(event)
    finally:
        type(out).width = before
    return stream.getvalue().decode()


def on(line: str, up: int = 1) -> str:
    return f"\x1b[{up}A\x1b[2K\r{line}\r\x1b[{up}B"


def test_terminal() -> None:
    assert drawn(TerminalProgress, EVENTS) == (
        "latest: Pulling from library/busybox\n"
        "\n"
        + on(f"{ID}: Pulling fs layer ")
        + on(f"{ID}: Downloading  32.77kB/1.069MB")
        + on(f"{ID}: Verifying Checksum ")
        + on(f"{ID}: Download complete ")
        + on(f"{ID}: Extracting  1.069MB/1.069MB")
        + on(f"{ID}: Pull complete ")
        + "Digest: sha256:bcf7\nStatus: Downloaded newer image for busybox:latest\n"
    )


def test_terminal_moves_to_each_layers_line() -> None:
    events = [
        LayerProgress(ID, LayerStatus.PULLING),
        LayerProgress(OTHER, LayerStatus.PULLING),
        LayerProgress(ID, LayerStatus.COMPLETE),
        Message("between"),
        LayerProgress(OTHER, LayerStatus.EXISTS),
    ]
    assert drawn(TerminalProgress, events) == (
        "\n"
        + on(f"{ID}: Pulling fs layer ")
        + "\n"
        + on(f"{OTHER}: Pulling fs layer ")
        + on(f"{ID}: Pull complete ", 2)
        + "between\n\n"
        + on(f"{OTHER}: Already exists ")
    )


@pytest.mark.parametrize(
    ("current", "total", "width", "bar"),
    [
        (0, 0, 200, ""),
        (210, 210, 111, "[" + "=" * 50 + ">]     210B/210B"),
        (98300, 9626000, 130, "[>" + " " * 50 + "]   98.3kB/9.626MB"),
        (22_740_000, 28_750_000, 130, "[" + "=" * 39 + ">" + " " * 11 + "]  22.74MB/28.75MB"),
        (28_310_000, 28_750_000, 130, "[" + "=" * 49 + ">" + " " + "]  28.31MB/28.75MB"),
        (98300, 9626000, 110, "  98.3kB/9.626MB"),
        (500, 0, 200, "    500B"),
        (20, 10, 80, "     20B"),
    ],
)
def test_bar(current: int, total: int, width: int, bar: str) -> None:
    assert progress_bar(current, total, width) == bar


def test_plain_leaves_counts_out() -> None:
    assert drawn(PlainProgress, EVENTS) == (
        "latest: Pulling from library/busybox\n"
        f"{ID}: Pulling fs layer\n"
        f"{ID}: Verifying Checksum\n"
        f"{ID}: Download complete\n"
        f"{ID}: Pull complete\n"
        "Digest: sha256:bcf7\n"
        "Status: Downloaded newer image for busybox:latest\n"
    )


def test_retrying_counts_seconds() -> None:
    events = [LayerProgress(ID, LayerStatus.RETRYING, retry_in_s=seconds) for seconds in (2, 1)]
    assert drawn(PlainProgress, events) == f"{ID}: Retrying in 2 seconds\n{ID}: Retrying in 1 second\n"


def test_json_in_dockers_key_order() -> None:
    lines = drawn(JSONProgress, EVENTS).splitlines()
    assert lines[0] == '{"status":"Pulling from library/busybox","id":"latest"}'
    assert lines[1] == f'{{"status":"Pulling fs layer","progressDetail":{{}},"id":"{ID}"}}'
    assert lines[2] == (
        f'{{"status":"Downloading","progressDetail":{{"current":32768,"total":{TOTAL}}},'
        f'"progress":"[=\\u003e{" " * 49}]  32.77kB/1.069MB","id":"{ID}"}}'
    )
    assert lines[-2] == '{"status":"Digest: sha256:bcf7"}'
    assert all(json.loads(line) for line in lines)


def test_choice_of_the_sink() -> None:
    out = Output(io.BytesIO())
    assert isinstance(progress_sink("auto", out), PlainProgress)
    assert isinstance(progress_sink("tty", out), TerminalProgress)
    assert isinstance(progress_sink("json", out), JSONProgress)
    assert progress_sink("quiet", out) is discard


def test_a_terminal_tells_its_width() -> None:
    master, terminal = os.openpty()
    with os.fdopen(terminal, "wb") as stream:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 91, 0, 0))
        out = Output(stream)
        assert isinstance(progress_sink("auto", out), TerminalProgress)
        assert out.width == 91
    os.close(master)
    assert Output(io.BytesIO()).width == Output(None).width == UNKNOWN_WIDTH

from __future__ import annotations

import pytest

from onggi.cancel import CancelToken
from onggi.cli.background import run_watched
from onggi.errors import Cancelled
from onggi.progress import Message, ProgressEvent, ProgressSink, discard


def test_result_and_events_in_order() -> None:
    seen: list[ProgressEvent] = []

    def verb(sink: ProgressSink, cancel: CancelToken) -> int:
        for number in range(100):
            sink(Message(str(number)))
        return 7

    assert run_watched(verb, seen.append) == 7
    assert seen == [Message(str(number)) for number in range(100)]


def test_errors_of_the_verb_are_raised() -> None:
    def verb(sink: ProgressSink, cancel: CancelToken) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_watched(verb, discard)


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_what_stops_drawing_cancels_the_verb_and_waits_for_its_end(error: type[BaseException]) -> None:
    ended: list[bool] = []

    def verb(sink: ProgressSink, cancel: CancelToken) -> None:
        sink(Message("begin"))
        try:
            cancel.sleep(60)
        except Cancelled:
            ended.append(True)
            raise

    def draw(event: ProgressEvent) -> None:
        raise error

    with pytest.raises(error):
        run_watched(verb, draw)
    assert ended == [True]

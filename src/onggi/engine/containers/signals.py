"""Signals by name or number, as Docker takes them."""

from __future__ import annotations

from onggi.errors import InvalidArgument

__all__ = ["InvalidSignal", "parse_signal", "stop_signal"]

_LAST, _SIGTERM = 64, 15


class InvalidSignal(InvalidArgument):
    """No such signal."""

    def __init__(self, text: str) -> None:
        super().__init__(f"Invalid signal: {text}", hint="a name like TERM or SIGHUP, or a number")


class UnsupportedSignal(InvalidArgument):
    """A number that is none of Linux's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"The linux daemon does not support signal {number}", hint=f"1 to {_LAST}")


def parse_signal(text: str) -> int:
    """``9``, ``KILL``, ``SIGKILL``, ``RTMIN+3``, in any case. Raises InvalidSignal."""
    if text.isascii() and text.isdigit():
        if not 0 < int(text) <= _LAST:
            raise UnsupportedSignal(int(text))
        return int(text)
    import signal

    name, plus, offset = text.upper().removeprefix("SIG").partition("+")
    try:
        number = int(signal.Signals[f"SIG{name}"])
    except KeyError:
        raise InvalidSignal(text) from None
    return number + int(offset) if plus and offset.isdigit() else number


def stop_signal(text: str | None) -> int:
    """The signal that asks a container to end: TERM unless its config says another."""
    return parse_signal(text) if text else _SIGTERM

"""Files of variables and labels: ``--env-file``, ``--label-file``.

file = { [ blanks ] ( "#" text | name [ "=" value ] | ) newline } ;

A name has no blank; a lone one takes the caller's value, where it has one.

Source: docker/cli ``pkg/kvfile``.
"""

from __future__ import annotations

from collections.abc import Iterator

from onggi.cli.session import Session

__all__ = ["file_lines", "read_environment"]

_BLANKS = " \t\n\v\f\r"


def read_environment(session: Session) -> list[str]:
    """Files first, then what stands on the command line. Raises ValueError."""
    from onggi.cli.flag_values import environment

    lines = [line for path in session.flag("env-file") for line in file_lines(path)]
    # A lone name that the caller does not have is left out of a file, and kept on the command line.
    entries = (environment(line) for line in lines)
    return [entry for entry in entries if "=" in entry] + list(session.flag("env"))


def file_lines(path: str) -> list[str]:
    """Lines that are neither blank nor a comment. Raises ValueError with Docker's words."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ValueError(f"open {path}: {(error.strerror or str(error)).lower()}") from error
    try:
        return list(_checked(data.removeprefix(b"\xef\xbb\xbf")))
    except ValueError as error:
        raise ValueError(f"invalid env file ({path}): {error}") from error


def _checked(data: bytes) -> Iterator[str]:
    for number, line in enumerate(data.splitlines(), 1):
        try:
            text = line.decode().lstrip(_BLANKS)
        except UnicodeDecodeError:
            shown = " ".join(str(byte) for byte in line)
            raise ValueError(f"invalid utf8 bytes at line {number}: [{shown}]") from None
        if not text or text.startswith("#"):
            continue
        name = text.partition("=")[0]
        if not name:
            raise ValueError(f"no variable name on line '{text}'")
        if any(letter in name for letter in _BLANKS):
            raise ValueError(f"variable '{name}' contains whitespaces")
        yield text

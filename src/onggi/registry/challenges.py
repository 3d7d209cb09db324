"""``WWW-Authenticate``, read as far as registries use it (RFC 9110 §11.6.1).

Grammar::

    header     = challenge *( "," challenge )
    challenge  = scheme [ 1*SP param *( "," param ) ]
    param      = token "=" ( token / quoted-string )
"""

from __future__ import annotations

import re

from onggi.record import record

__all__ = ["Challenge", "parse_challenges"]

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_WORD})(?=\s|,|$)(?!\s*=)")
_PARAMETER = re.compile(rf'[\s,]*({_WORD})\s*=\s*("(?:[^"\\]|\\.)*"|[^,\s"]*)')
# Characters of one header line that are looked at.
_MOST = 8192


@record
class Challenge:
    """One challenge: lower-case scheme and parameters, names in lower case too."""

    scheme: str
    parameters: tuple[tuple[str, str], ...]

    def __getitem__(self, name: str) -> str:
        """A parameter's value, empty when absent."""
        return dict(self.parameters).get(name, "")


def parse_challenges(lines: list[str]) -> list[Challenge]:
    """All challenges of all header lines; the rest of a line that cannot be read is passed over."""
    return [challenge for line in lines for challenge in _parse_line(line[:_MOST])]


def _parse_line(line: str) -> list[Challenge]:
    found = []
    position = 0
    while match := _SCHEME.match(line, position):
        position = match.end()
        parameters = []
        while parameter := _PARAMETER.match(line, position):
            position = parameter.end()
            parameters.append((parameter[1].lower(), _unquoted(parameter[2])))
        found.append(Challenge(match[1].lower(), tuple(parameters)))
    return found


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value

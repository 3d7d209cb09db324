"""Which networks ``network ls`` and ``network prune`` mean.

Source: moby ``daemon/network/filter.go``, ``daemon/prune.go``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from onggi.engine.filters import Filters, InvalidFilter
from onggi.network.model import Network
from onggi.oci.timestamps import parse_moment, to_unix

__all__ = ["list_test", "prune_test"]

_LIST = ("dangling", "driver", "id", "label", "name", "scope", "type")
_PRUNE = ("label", "label!", "until")
Test = Callable[[Network], bool]


def list_test(filters: Filters, used: Test) -> Test:
    """``ls``: keys must all hold, values of a key are alternatives (labels: all). Raises InvalidFilter."""
    _check(filters, _LIST)
    for kind in filters.get("type", ()):
        if kind not in ("builtin", "custom"):
            raise InvalidFilter(f"invalid filter: 'type'='{kind}'", hint="builtin or custom")
    tests: dict[str, Callable[[Network, str], bool]] = {
        "dangling": lambda network, value: _unused(network, used) == _boolean(value),
        "driver": lambda network, value: network.driver == value,
        "id": lambda network, value: network.id.startswith(value),
        "name": _has_name,
        "scope": lambda network, value: value == "local",
        "type": lambda network, value: network.predefined == (value == "builtin"),
    }

    def matches(network: Network) -> bool:
        return all(_has_label(network, value) for value in filters.get("label", ())) and all(
            any(tests[key](network, value) for value in values)
            for key, values in filters.items()
            if key != "label"
        )

    return matches


def prune_test(filters: Filters) -> Test:
    """``prune``. Raises InvalidFilter."""
    _check(filters, _PRUNE)
    limit: float | None = None
    for value in filters.get("until", ()):
        limit = parse_moment(value, time.time())
        if limit is None:
            raise InvalidFilter(
                f"invalid filter 'until={value}'", hint="use a duration (10m, 1h30m), a date or a Unix time"
            )

    def matches(network: Network) -> bool:
        return (
            (limit is None or (to_unix(network.created) or 0.0) < limit)
            and all(_has_label(network, value) for value in filters.get("label", ()))
            and not any(_has_label(network, value) for value in filters.get("label!", ()))
        )

    return matches


def _check(filters: Filters, known: tuple[str, ...]) -> None:
    for name in filters:
        if name not in known:
            raise InvalidFilter(f"invalid filter '{name}'", hint=f"known filters: {', '.join(known)}")


def _unused(network: Network, used: Test) -> bool:
    return not network.predefined and not used(network)


def _boolean(value: str) -> bool:
    if value.lower() not in ("1", "t", "true", "0", "f", "false"):
        raise InvalidFilter(f"invalid filter 'dangling={value}'", hint="use true or false")
    return value.lower() in ("1", "t", "true")


def _has_name(network: Network, value: str) -> bool:
    try:
        return re.search(value, network.name) is not None
    except re.error:
        return value in network.name


def _has_label(network: Network, value: str) -> bool:
    name, equals, expected = value.partition("=")
    return name in network.labels and (not equals or network.labels[name] == expected)

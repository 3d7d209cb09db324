"""Which containers ``container prune`` takes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from onggi.engine.containers.inspection import status_word, true_state
from onggi.engine.core import Core
from onggi.engine.filters import Filters, InvalidFilter
from onggi.oci.quoting import quoted
from onggi.oci.timestamps import parse_moment, to_unix
from onggi.store.containers import StoredContainer

__all__ = ["prunable"]

_KNOWN = ("label", "label!", "until")


def prunable(core: Core, filters: Filters) -> Iterator[StoredContainer]:
    """Containers that do not run and fit the filters. Raises InvalidFilter."""
    for name in filters:
        if name not in _KNOWN:
            raise InvalidFilter(f"invalid filter '{name}'", hint=f"known filters: {', '.join(_KNOWN)}")
    before = _moment(filters.get("until", ()))
    for stored in core.containers.all():
        state = true_state(core, stored)
        created = to_unix(stored.document["Created"]) or 0.0
        if status_word(state) in ("running", "paused", "restarting") or created > before:
            continue
        if _labels_fit(stored.config.get("Labels") or {}, filters):
            yield stored


def _moment(values: object) -> float:
    found = list(values) if isinstance(values, list | tuple) else []
    if not found:
        return float("inf")
    moment = parse_moment(found[-1], time.time())
    if moment is None:
        raise InvalidFilter(
            f"failed to parse value as time or duration: {quoted(found[-1])}", hint="e.g. 24h, or a date"
        )
    return moment


def _labels_fit(labels: dict[str, str], filters: Filters) -> bool:
    return all(_has(labels, text) for text in filters.get("label", ())) and not any(
        _has(labels, text) for text in filters.get("label!", ())
    )


def _has(labels: dict[str, str], text: str) -> bool:
    name, equals, value = text.partition("=")
    return name in labels and (not equals or labels[name] == value)

"""``--filter`` of ``images`` and ``image prune`` (docker-engine §8.4, §8.6)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from onggi.errors import InvalidArgument
from onggi.oci.reference import glob_matches
from onggi.oci.timestamps import parse_moment

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.engine.image import Image
    from onggi.oci.digest import ImageID
    from onggi.oci.reference import Reference

__all__ = ["Filters", "InvalidFilter", "compile_filters", "matching_names"]

Filters = Mapping[str, Sequence[str]]
Predicate = Callable[["Image"], bool]


class InvalidFilter(InvalidArgument):
    """A filter that does not exist, or a value it does not take."""


def compile_filters(
    filters: Filters, known: Sequence[str], find: Callable[[str], Image], has_children: Predicate
) -> Predicate:
    """One predicate for all filters: values of one key are alternatives, keys all must hold.

    ``find`` resolves the image that ``before`` and ``since`` name. Raises InvalidFilter.
    """
    tests: list[Predicate] = []
    for key, values in filters.items():
        if key not in known:
            raise InvalidFilter(f"invalid filter '{key}'", hint=f"known filters: {', '.join(sorted(known))}")
        tests.append(_compile(key, list(values), find, has_children))
    return lambda image: all(test(image) for test in tests)


def matching_names(
    names: Mapping[ImageID, list[Reference]], filters: Filters
) -> Mapping[ImageID, list[Reference]]:
    """What the filter ``reference`` leaves of each image's names: Docker lists no others."""
    patterns = filters.get("reference", ())
    if not patterns:
        return names
    return {
        image_id: [name for name in found if any(glob_matches(pattern, name) for pattern in patterns)]
        for image_id, found in names.items()
    }


def _compile(key: str, values: list[str], find: Callable[[str], Image], has_children: Predicate) -> Predicate:
    if key == "dangling":
        wanted = _boolean(key, values)
        return lambda image: (not image.tags and not has_children(image)) == wanted
    if key == "label":
        return lambda image: all(_has_label(image, value) for value in values)
    if key == "label!":
        return lambda image: not any(_has_label(image, value) for value in values)
    if key == "reference":
        return lambda image: any(
            glob_matches(value, reference) for value in values for reference in image.references
        )
    if key == "before":
        limit = find(values[-1]).created_at or 0.0
        return lambda image: (image.created_at or 0.0) < limit
    if key == "since":
        limit = find(values[-1]).created_at or 0.0
        return lambda image: (image.created_at or 0.0) > limit
    until = _moment(values[-1])
    return lambda image: (image.created_at or 0.0) < until


def _boolean(key: str, values: list[str]) -> bool:
    value = values[-1].lower()
    if value in ("1", "t", "true"):
        return True
    if value in ("0", "f", "false"):
        return False
    raise InvalidFilter(f"invalid filter '{key}={values[-1]}'", hint="use true or false")


def _moment(value: str) -> float:
    moment = parse_moment(value, time.time())
    if moment is None:
        raise InvalidFilter(
            f"invalid filter 'until={value}'", hint="use a duration (10m, 1h30m), a date or a Unix time"
        )
    return moment


def _has_label(image: Image, wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in image.labels and (not equals or image.labels[name] == value)

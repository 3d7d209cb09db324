"""Names of containers: what is allowed, what is made up, what a user's word means."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from onggi.errors import Conflict, InvalidArgument, NotFound

__all__ = [
    "AmbiguousContainer",
    "ContainerNotFound",
    "InvalidName",
    "NameTaken",
    "check_name",
    "find_id",
    "new_id",
    "random_name",
]

_NAME = r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+"
_SHORT = 12

_KINDS = """
    amber ample azure brave breezy bright brisk calm candid cheery clever cosy crisp deft eager earthy easy
    elated fair fond frank gentle glad golden grand happy hardy hearty honest humble jolly keen kind lively
    lucid lucky lunar mellow merry mild modest neat nimble noble patient placid plucky proud quick quiet ready
    rosy round rustic serene silent smooth snug solid sound stout sturdy sunny swift tidy tranquil trusty
    upbeat vivid warm wise witty worthy zesty
"""
_THINGS = """
    ash basin beaker bell bisque bowl brick brine bucket cask celadon chalk clay cork crock cup dipper dish
    earth ember ewer flask flint fern gimbap glaze grain hanok hearth jar jug kiln kimchi ladle lantern lid
    loam maple mortar mug oak onggi pail pan pebble persimmon pine pitcher plate platter plum pot potter reed
    rice salt sand shard sherd sieve slip soy spoon stone straw tea tile tray tub urn vase vat well wheel
"""


class ContainerNotFound(NotFound):
    """No container has this name or id."""

    def __init__(self, name: str) -> None:
        super().__init__(f"No such container: {name}", hint="'onggi ps -a' lists what is here")
        self.name = name


class AmbiguousContainer(InvalidArgument):
    """More than one id begins like this."""

    def __init__(self, prefix: str) -> None:
        super().__init__(
            f"Multiple IDs found with provided prefix: {prefix}",
            hint="give more digits of the one that is meant",
        )


class InvalidName(InvalidArgument):
    """A name that no container can have."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            hint="two characters at least",
        )


class NameTaken(Conflict):
    """Another container has the name."""

    def __init__(self, name: str, owner: str) -> None:
        super().__init__(
            f'Conflict. The container name "/{name}" is already in use by container "{owner}". You have to '
            "remove (or rename) that container to be able to reuse that name."
        )
        self.owner = owner


def check_name(name: str) -> str:
    """The name without a slash before it. Raises InvalidName."""
    if not re.fullmatch(_NAME, name):
        raise InvalidName(name)
    return name.removeprefix("/")


def new_id() -> str:
    """64 random digits, the short form of which is no number: that could be taken for a process."""
    while True:
        id = os.urandom(32).hex()
        if not id[:_SHORT].isdigit():
            return id


def random_name(taken: Iterable[str]) -> str:
    """``adjective_thing``, with a digit after it when that is taken."""
    known = frozenset(taken)
    kinds, things = _KINDS.split(), _THINGS.split()
    for attempt in range(100):
        name = f"{_any(kinds)}_{_any(things)}{attempt if attempt else ''}"
        if name not in known:
            return name
    return f"{_any(kinds)}_{os.urandom(6).hex()}"


def _any(words: list[str]) -> str:
    return words[int.from_bytes(os.urandom(4), "big") % len(words)]


def find_id(word: str, names: dict[str, str], ids: Iterable[str]) -> str:
    """What ``word`` means, in Docker's order: an id, a name, the beginning of one id.

    ``names`` maps names to ids. Raises ContainerNotFound, AmbiguousContainer.
    """
    known = list(ids)
    if word in known:
        return word
    owner = names.get(word.removeprefix("/"))
    if owner is not None:
        return owner
    matches = [id for id in known if word and id.startswith(word)]
    if len(matches) > 1:
        raise AmbiguousContainer(word)
    if not matches:
        raise ContainerNotFound(word)
    return matches[0]

"""``repositories.json``: which name means which image.

One line of JSON, keys sorted bytewise, names in the familiar form (docker-engine §4.2)::

    {"Repositories":{"nginx":{"nginx:latest":"sha256:…","nginx@sha256:…":"sha256:…"}}}

One exclusive lock spans each read-modify-write. Entries that nobody can parse, or that
name unknown images, are kept as they are. Every change is in the tag journal
(:mod:`tag_journal`) before it happens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onggi.errors import Conflict, DataLoss, InvalidArgument
from onggi.oci.digest import ImageID
from onggi.oci.reference import Reference
from onggi.store.atomic import read_optional, write_cache, write_file
from onggi.store.locks import LockDirectory

TYPE_CHECKING = False  # typing itself is not needed at run time, and costs the start-up milliseconds
if TYPE_CHECKING:
    from onggi.store.tag_journal import TagChange

__all__ = ["AmbiguousName", "CorruptRepositories", "DigestTaken", "References", "TagStore"]

Repositories = dict[str, dict[str, str]]


class CorruptRepositories(DataLoss):
    """``repositories.json`` is not what it must be."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"read {path}: {reason}",
            hint=f"restore it, or move it away (images stay, names are lost): mv {path} {path}.broken",
        )
        self.path = path


class DigestTaken(Conflict):
    """A digest reference is never re-pointed to another image."""

    def __init__(self, reference: Reference) -> None:
        super().__init__(
            f"Cannot overwrite digest {reference.digest}",
            hint=f"untag it first: onggi rmi {reference.familiar}",
        )


class AmbiguousName(InvalidArgument):
    """A repository must not be called like a digest algorithm."""

    def __init__(self) -> None:
        super().__init__(
            "refusing to create an ambiguous tag using digest algorithm as name",
            hint="choose another repository name than sha256",
        )


class References:
    """The names of a store at one moment; in a transaction it can be changed."""

    def __init__(self, repositories: Repositories) -> None:
        self.repositories = repositories
        self.changed = False

    def find(self, reference: Reference) -> ImageID | None:
        """The image a name means: by digest if it has one, else by tag (default latest)."""
        text = _key(reference)
        value = self.repositories.get(reference.familiar_name, {}).get(text)
        return None if value is None else ImageID(value)

    def of(self, image_id: ImageID) -> list[Reference]:
        """Every name of an image, sorted by canonical string."""
        return self.by_image().get(image_id, [])

    def by_image(self) -> dict[ImageID, list[Reference]]:
        """All names, grouped by image, each list sorted by canonical string."""
        grouped: dict[ImageID, list[Reference]] = {}
        for reference, image_id in self.items():
            grouped.setdefault(image_id, []).append(reference)
        for names in grouped.values():
            names.sort(key=str)
        return grouped

    def items(self) -> Iterator[tuple[Reference, ImageID]]:
        """Every parsable entry."""
        for entries in self.repositories.values():
            for text, image_id in entries.items():
                try:
                    yield Reference.parse(text), ImageID(image_id)
                except InvalidArgument:
                    continue

    def set(self, reference: Reference, image_id: ImageID) -> ImageID | None:
        """Let a name mean ``image_id``; returns what it meant before.

        Raises DigestTaken when a digest reference means another image already, and
        AmbiguousName for a repository called ``sha256``.
        """
        if reference.familiar_name == "sha256":
            raise AmbiguousName
        entries = self.repositories.setdefault(reference.familiar_name, {})
        before = entries.get(_key(reference))
        if reference.digest is not None and before not in (None, image_id):
            raise DigestTaken(reference)
        if before != image_id:
            entries[_key(reference)] = image_id
            self.changed = True
        return None if before is None else ImageID(before)

    def remove(self, reference: Reference) -> ImageID | None:
        """Forget a name; the last one of a repository takes the repository along."""
        entries = self.repositories.get(reference.familiar_name, {})
        before = entries.pop(_key(reference), None)
        if before is None:
            return None
        if not entries:
            del self.repositories[reference.familiar_name]
        self.changed = True
        return ImageID(before)


class TagStore:
    """Reads and rewrites ``repositories.json``."""

    def __init__(self, path: Path, locks: LockDirectory, journal: Path | None = None) -> None:
        self._path = path
        self._locks = locks
        self._journal = journal

    def create(self) -> None:
        """Make a file without names where there is none; the first name makes it durable."""
        if not self._path.exists():
            with self._locks.acquire("repositories", exclusive=True):
                if not self._path.exists():
                    write_cache(self._path, _encode({}), 0o600)

    def snapshot(self) -> References:
        """The names as they are now; changes to it go nowhere."""
        return References(self._read())

    @contextmanager
    def transaction(
        self, by: str, digest: str | None = None, *, first: Callable[[], None] | None = None
    ) -> Iterator[References]:
        """Read, change, write under one exclusive lock; an exception writes nothing.

        ``by`` is the verb that the tag journal names, ``digest`` what a pull resolved a tag to.
        ``first`` flushes what the names are to mean; it is called before they do.
        """
        with self._locks.acquire("repositories", exclusive=True):
            references = References(self._read())
            before = _flat(references.repositories)
            yield references
            flushes = [first] if first is not None else []
            if references.changed:
                flushes += self._note(before, _flat(references.repositories), by, digest)
                self._write(references.repositories, flushes)
            else:
                _call(flushes)

    def _note(
        self, before: dict[str, str], after: dict[str, str], by: str, digest: str | None
    ) -> list[Callable[[], None]]:
        """Write the changes into the journal; gives what makes that durable."""
        if self._journal is None:
            return []
        from time import time_ns

        from onggi.store.tag_journal import TagChange, TagJournal

        changes = [
            TagChange(name, _image_id(before.get(name)), _image_id(after.get(name)), by, digest, time_ns())
            for name in sorted({**before, **after})
            if before.get(name) != after.get(name)
        ]
        if not changes:
            return []
        journal = TagJournal(self._journal, self._locks)
        journal.append(changes)
        return [journal.flush]

    def history(self, reference: Reference) -> list[TagChange]:
        """What a name meant, newest change first."""
        from onggi.store.tag_journal import TagJournal

        assert self._journal is not None
        current = self.snapshot().find(reference)
        return TagJournal(self._journal, self._locks).history(_key(reference), current)

    def _read(self) -> Repositories:
        data = read_optional(self._path)
        if data is None:
            return {}
        try:
            document = json.loads(data)
        except ValueError as error:
            raise CorruptRepositories(self._path, f"not JSON: {error}") from error
        repositories = document.get("Repositories") if isinstance(document, dict) else document
        if not _well_formed(repositories):
            raise CorruptRepositories(self._path, "not a map of repositories")
        return repositories or {}

    def _write(self, repositories: Repositories, flushes: list[Callable[[], None]]) -> None:
        write_file(self._path, _encode(repositories), 0o600, first=lambda: _call(flushes))


def _call(actions: Iterable[Callable[[], None]]) -> None:
    for action in actions:
        action()


def _encode(repositories: Repositories) -> bytes:
    document = {"Repositories": repositories}
    return json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def _key(reference: Reference) -> str:
    if reference.digest is not None:
        return f"{reference.familiar_name}@{reference.digest}"
    return reference.tagged().familiar


def _flat(repositories: Repositories) -> dict[str, str]:
    """Name → image id, over all repositories."""
    return {name: image_id for entries in repositories.values() for name, image_id in entries.items()}


def _image_id(text: str | None) -> ImageID | None:
    return None if text is None else ImageID(text)


def _well_formed(repositories: object) -> bool:
    if repositories is None:
        return True
    return isinstance(repositories, dict) and all(
        isinstance(entries, dict) and all(isinstance(value, str) for value in entries.values())
        for entries in repositories.values()
    )

"""What ``cp`` makes of its two paths: Docker's rules, which are those of ``cp -a`` but for a few.

=======================  =============================  ==========================================
source                   destination                    what happens
=======================  =============================  ==========================================
anything                 a directory                    goes into it under its own name
directory ending ``/.``  a directory                    what is in it goes into it
directory                a file                         refused
file                     a file                         replaces it
directory                nothing; its parent exists     becomes it
file                     nothing, ending in ``/``       refused
file                     nothing; its parent exists     becomes it
=======================  =============================  ==========================================

Source: moby ``pkg/archive/copy.go`` (PrepareArchiveCopy, CopyInfoDestinationPath).
"""

from __future__ import annotations

import os
import posixpath
import stat

from onggi.errors import InvalidArgument, NotFound
from onggi.record import record

__all__ = [
    "CopyRefused",
    "Destination",
    "HostSource",
    "NoSuchPath",
    "Plan",
    "absolute",
    "asserts_directory",
    "host_destination",
    "host_source",
    "names_contents",
    "plan",
]

_LINK_LIMIT = 10


class CopyRefused(InvalidArgument):
    """The two do not fit; Docker's words."""


class NoSuchPath(NotFound):
    """Nothing is there on the host; Docker's words."""


@record
class Destination:
    """``exists`` and ``is_directory`` are of ``path`` with links followed."""

    path: str
    exists: bool
    is_directory: bool


@record
class Plan:
    """Unpack into ``directory``, what is copied being called ``name``; empty: its contents."""

    directory: str
    name: str


@record
class HostSource:
    """``directory`` has the entry ``entry`` (empty: it is that directory); ``name`` is what it is called."""

    directory: str
    entry: str
    name: str
    is_directory: bool


def names_contents(path: str) -> bool:
    """True for a directory's contents: ``dir/.``"""
    return path == "." or path.endswith("/.")


def asserts_directory(path: str) -> bool:
    """True when the path can only be a directory's."""
    return path.endswith("/") or names_contents(path)


def absolute(path: str, base: str = "/") -> str:
    """Cleaned, from ``/``, with the end that means something kept: ``/`` or ``/.``."""
    cleaned = "/" + posixpath.normpath(posixpath.join(base, path)).lstrip("/")
    if names_contents(path):
        return cleaned.rstrip("/") + "/."
    return cleaned.rstrip("/") + "/" if path.endswith("/") else cleaned


def plan(name: str, is_directory: bool, destination: Destination) -> Plan:
    """Where what is called ``name`` (empty: a directory's contents) goes. Raises CopyRefused."""
    if destination.exists and destination.is_directory:
        return Plan(destination.path, name)
    if destination.exists and is_directory:
        raise CopyRefused("cannot copy directory", hint="a file is there")
    if not destination.exists and not is_directory and asserts_directory(destination.path):
        raise CopyRefused("no such directory", hint="leave the '/' at the end out, or make the directory")
    parent, base = posixpath.split(destination.path.rstrip("/").removesuffix("/.").rstrip("/"))
    return Plan(parent or "/", base)


# --- on the host ------------------------------------------------------------------------------


def host_source(path: str, *, follow: bool) -> HostSource:
    """A path of this host; a link is copied as a link unless ``follow``. Raises NoSuchPath, CopyRefused."""
    full = absolute(path, os.getcwd())
    plain = full.removesuffix("/.").rstrip("/") or "/"
    resolved = plain
    if asserts_directory(full) or follow:
        resolved = os.path.realpath(plain)
    try:
        status = os.lstat(resolved)
    except OSError as error:
        text = f"lstat {resolved}: {(error.strerror or '').lower()}"
        raise NoSuchPath(text) from None
    is_directory = stat.S_ISDIR(status.st_mode)
    if asserts_directory(full) and not is_directory:
        raise CopyRefused("not a directory", hint=f"{plain} is none")
    name = "" if names_contents(full) or plain == "/" else posixpath.basename(plain)
    if is_directory:
        return HostSource(resolved, "", name, True)
    return HostSource(posixpath.dirname(resolved), posixpath.basename(resolved), name, False)


def host_destination(path: str) -> Destination:
    """Links are followed, also to what is not there yet. Raises CopyRefused."""
    full = absolute(path, os.getcwd())
    _check_output(full)
    reached = full
    for _ in range(_LINK_LIMIT):
        if not os.path.islink(reached):
            break
        reached = posixpath.join(posixpath.dirname(reached), os.readlink(reached))
    else:
        raise CopyRefused(f"too many symlinks in {full}")
    if os.path.lexists(reached):
        return Destination(reached, True, os.path.isdir(reached))
    if not os.path.isdir(posixpath.dirname(reached.rstrip("/").removesuffix("/.")) or "/"):
        raise CopyRefused("not a directory")
    return Destination(reached, False, False)


def _check_output(path: str) -> None:
    plain = path.removesuffix("/.").rstrip("/")
    directory = posixpath.dirname(plain) or "/"
    if not os.path.exists(directory):
        raise CopyRefused(f'invalid output path: directory "{directory}" does not exist')
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise CopyRefused(f"stat {plain}: {(error.strerror or '').lower()}") from None
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise CopyRefused(f'invalid output path: "{path}" must be a directory or a regular file')

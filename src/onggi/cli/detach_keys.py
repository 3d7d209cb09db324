"""The keys that let go of a container: ``--detach-keys``, else the client's config.json, else Docker's own.

::

    keys = key { "," key } ;
    key  = character | "ctrl-" ( letter | "@" | "[" | "\\" | "]" | "^" | "_" ) ;
"""

from __future__ import annotations

import json

from onggi.cli.session import Failure, Session

__all__ = ["detach_keys"]

_DEFAULT = "ctrl-p,ctrl-q"
_WITH_CTRL = "abcdefghijklmnopqrstuvwxyz@[\\]^_"


def detach_keys(session: Session) -> bytes:
    """As the bytes that a terminal sends. Raises Failure."""
    return _parse(session.flag("detach-keys") or _configured(session) or _DEFAULT)


def _configured(session: Session) -> str:
    """``detachKeys`` of config.json; a file that nobody can read says nothing here."""
    try:
        document = json.loads((session.engine.config.docker_config_dir / "config.json").read_bytes())
    except (OSError, ValueError):
        return ""
    keys = document.get("detachKeys") if isinstance(document, dict) else None
    return keys if isinstance(keys, str) else ""


def _parse(text: str) -> bytes:
    keys = bytearray()
    for word in text.split(","):
        letter = word.removeprefix("ctrl-")
        if len(word) == 1:
            keys += word.encode()
        elif word.startswith("ctrl-") and len(letter) == 1 and letter in _WITH_CTRL:
            keys.append(ord(letter.upper()) - 64)
        else:
            raise Failure(f"Invalid detach keys ({text}) provided: Unknown character: '{word}'")
    return bytes(keys)

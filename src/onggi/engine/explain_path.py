"""``explain`` of a path inside an image: which layers hold it, which one wins, which step made it."""

from __future__ import annotations

import os
from pathlib import Path

from onggi.engine.contents import Holder, PathExplanation
from onggi.engine.core import Core
from onggi.engine.explain import Explanation
from onggi.engine.image import Image
from onggi.engine.names import find_image

__all__ = ["explain_image_path"]


def explain_image_path(core: Core, name: str, path: str) -> Explanation:
    """The path of the image ``name``. Raises ImageNotFound, NotInImage."""
    image_id = find_image(core, name)
    image = Image(core, image_id, core.images.get(image_id))
    found = image.contents.explain(os.fsencode(path))
    facts: list[tuple[str, str]] = [("image", image_id)]
    if found.place != found.path.strip(b"/"):
        facts.append(("is", "/" + _shown(found.place)))
    if found.target:
        facts.append(("leads to", _shown(found.target)))
    if found.winner is not None:
        facts += _winner(core, image, found)
    facts += [(f"layer {holder.layer}", _word(holder)) for holder in found.holders]
    return Explanation("file", f"{name}:{path}", _title(found), _HOW, facts)


_HOW = "the topmost layer that has a name wins; a whiteout in it deletes the name from the layers below"


def _shown(path: bytes) -> str:
    """A path of the image for a terminal: control characters as spaces."""
    text = os.fsdecode(path)
    return "".join(" " if ord(letter) < 32 or 127 <= ord(letter) < 160 else letter for letter in text)


def _title(found: PathExplanation) -> str:
    if found.winner is None:
        return f"not in the image: layer {found.holders[0].layer} deletes it"
    kind = next(holder.kind for holder in found.holders if holder.wins)
    article = "an" if kind[0] in "aeiou" else "a"
    return f"{article} {kind} of the image, from layer {found.winner}"


def _winner(core: Core, image: Image, found: PathExplanation) -> list[tuple[str, str]]:
    layer = image.layers[(found.winner or 1) - 1]
    facts = [
        ("file", _whereabouts(core.driver.files(layer.cache_id), _shown(found.place))),
        ("diffID", layer.diff_id),
        ("chainID", layer.chain_id),
        ("cache-id", layer.cache_id),
    ]
    if layer.history is not None:
        facts.append(("made by", " ".join(layer.history.created_by.split())))
    return facts


def _whereabouts(files: Path, place: str) -> str:
    return f"{files}/{place}" if files.is_dir() else f"{place} in {files}"


def _word(holder: Holder) -> str:
    """``file, 12 bytes, wins``, with the step that made it."""
    parts = [holder.kind]
    if holder.kind in ("file", "symbolic link"):
        parts.append(f"{holder.size} bytes")
    if holder.wins:
        parts.append("wins")
    elif holder.kind == "whiteout":
        parts.append("deletes it from the layers below")
    elif holder.hidden_by is not None:
        parts.append(f"hidden by layer {holder.hidden_by}")
    else:
        parts.append("merged")
    step = " ".join(holder.history.created_by.split()) if holder.history else ""
    return ", ".join(parts) + (f"  [{step}]" if step else "")

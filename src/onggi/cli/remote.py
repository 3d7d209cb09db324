"""``onggi remote``: look at a registry without pulling."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from onggi.cli.listing import Listing
from onggi.cli.session import Session
from onggi.cli.units import human_size, short_id

if TYPE_CHECKING:
    from onggi.engine.remote import RemoteImage, RemoteManifest

__all__ = ["run_inspect", "run_tags"]

_TAGS = Listing("*formatter.tagContext", {"Tag": ("TAG", str)}, ("Tag",))


def run_tags(session: Session) -> int:
    """One tag a line, in the registry's order."""
    tags = session.engine.remote.tags(session.arguments[0])
    if session.flag("json"):
        session.write_json(tags)
    elif session.flag("format"):
        session.out.write(_TAGS.render(tags, session.flag("format")))
    else:
        session.out.write("".join(f"{tag}\n" for tag in tags))
    return 0


def run_inspect(session: Session) -> int:
    """The documents behind a reference, platform by platform."""
    image = session.engine.remote.inspect(session.arguments[0])
    if session.flag("raw"):
        session.out.write_bytes(image.raw)
        if sys.stdout is not None and sys.stdout.isatty():
            session.out.write("\n")
    elif session.flag("format"):
        from onggi.cli.template import compile_template

        session.out.write(compile_template(session.flag("format"))(_json(image)) + "\n")
    elif session.flag("json"):
        session.write_json(_json(image))
    else:
        session.out.write(_text(image, str if session.flag("no-trunc") else short_id))
    return 0


def _text(image: RemoteImage, cut: Any) -> str:
    head = f"{image.reference}\n  digest      {image.digest}\n  media type  {image.media_type}\n"
    return head + "".join(_manifest_text(manifest, cut) for manifest in image.manifests)


def _manifest_text(manifest: RemoteManifest, cut: Any) -> str:
    lines = [f"\n{manifest.platform or 'any platform'}\n", f"  manifest    {cut(manifest.digest)}\n"]
    if manifest.config is None:
        return "".join([*lines, f"  media type  {manifest.media_type}\n"])
    lines.append(f"  image ID    {cut(manifest.config.id)}\n")
    lines.append(f"  created     {manifest.config.created or 'unknown'}\n")
    lines.append(f"  download    {human_size(manifest.download_bytes)} in {len(manifest.layers)} layers\n")
    for number, layer in enumerate(manifest.layers, start=1):
        lines.append(f"  layer{number:<7}{cut(layer.digest)}  {human_size(layer.size)}\n")
    return "".join(lines)


def _json(image: RemoteImage) -> dict[str, Any]:
    return {
        "Reference": str(image.reference),
        "Digest": image.digest,
        "MediaType": image.media_type,
        "Manifests": [_manifest_json(manifest) for manifest in image.manifests],
    }


def _manifest_json(manifest: RemoteManifest) -> dict[str, Any]:
    return {
        "Platform": str(manifest.platform) if manifest.platform else "",
        "Digest": manifest.digest,
        "MediaType": manifest.media_type,
        "Size": manifest.size,
        "ImageID": manifest.config.id if manifest.config else "",
        "Created": manifest.config.created if manifest.config else None,
        "Download": manifest.download_bytes,
        "Layers": [
            {"Digest": layer.digest, "MediaType": layer.media_type, "Size": layer.size}
            for layer in manifest.layers
        ],
    }

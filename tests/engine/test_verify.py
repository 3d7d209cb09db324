"""Whole stores: clean ones verify clean, and an edit shows wherever the layer is used."""

from __future__ import annotations

import json
from pathlib import Path

import onggi as package
from onggi.linux.mount import unmount
from tests.peers.fixtures import Onggi, shared_registry

IMAGES = ("odd", "twice", "deep", "plain", "zstd", "nohistory", "many", "tags:v1", "tags:v2", "tags:v3")
REAL = ("library/nginx", "library/debian:bookworm-slim", "library/python:3.11", "oci/busybox")


def opened(onggi: Onggi):
    return package.open(data_root=str(onggi.data_root))


def test_every_generated_image_is_clean(onggi: Onggi) -> None:
    for image in IMAGES:
        onggi.run("pull", "-q", image)
    onggi.run("pull", "-q", "--platform", "linux/arm/v7", "many")
    for words in (["--all"], ["--all", "--fast"]):
        done = onggi.run("verify", *words, check=False)
        assert done.stdout.endswith("nothing has changed\n"), done.stdout
    mounted = onggi.output("image", "mount", "odd").strip()
    try:
        sum(path.is_file() for path in Path(mounted).rglob("*"))
        assert onggi.output("verify", "odd").endswith("nothing has changed\n")
    finally:
        unmount(Path(mounted))


def test_real_images_are_clean(onggi: Onggi, real_registry) -> None:
    if shared_registry() is None or real_registry is None:
        return
    for image in REAL[:2]:
        onggi.run("pull", "-q", f"{real_registry.host}/{image}")
    assert onggi.output("verify", "--all").endswith("nothing has changed\n")
    assert onggi.output("verify", "--all", "--fast").endswith("nothing has changed\n")


def test_an_edit_shows_in_every_image_on_the_layer(onggi: Onggi) -> None:
    """The mission's warning: layers are shared, and nobody but verify notices."""
    onggi.run("pull", "-q", "tags:v1")
    onggi.run("pull", "-q", "tags:v2")
    layers = json.loads(onggi.output("layers", "--json", "tags:v1"))
    Path(layers[-1]["Directory"], "a").write_bytes(b"!")
    for image in ("tags:v1", "tags:v2"):
        mounted = Path(onggi.output("image", "mount", image).strip())
        assert (mounted / "a").read_bytes() == b"!"
        onggi.run("image", "unmount", image)
        assert onggi.run("verify", "-q", image, check=False).returncode == 1


def test_python_callers_iterate(onggi: Onggi) -> None:
    onggi.run("pull", "-q", "odd")
    with opened(onggi) as engine:
        verification = engine.images.verify("odd")
        assert list(verification) == []
        assert (verification.images, verification.layers, verification.damaged) == (1, 2, 0)
        assert verification.size_bytes > 0

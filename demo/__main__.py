"""Take the tour; exit code 0 only if every promise was kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from demo.content import write_content
from demo.stage import BrokenPromise, Stage, say
from demo.tour import Tour
from onggi.hub.layout import OCILayout
from onggi.hub.server import serving


def main() -> int:
    """Make the images, serve them as Docker Hub's mirror, walk."""
    if os.geteuid() != 0:
        say("The tour keeps layers in overlay2, which needs root: sudo make demo")
        return 1
    with tempfile.TemporaryDirectory(prefix="onggi-demo-") as name:
        home = Path(name)
        content = write_content(home / "registry")
        with serving(OCILayout(content.directory)) as url:
            stage = Stage(home, url)
            stage.tell(
                f"Two images were made just now, nginx and the debian below it, for two platforms. Our own"
                f" registry serves them at {url}, and the engine takes it for a mirror of Docker Hub. All of"
                f" it lies in {home} and goes away at the end."
            )
            try:
                Tour(stage, content).walk()
            except BrokenPromise as broken:
                say(f"\n  ✗ not so: {broken}")
                return 1
    say("\nEvery promise was kept.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

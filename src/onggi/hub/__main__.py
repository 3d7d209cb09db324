"""``python -m onggi.hub LAYOUT [--listen HOST:PORT]``: serve an OCI image layout, read-only."""

from __future__ import annotations

import argparse
from pathlib import Path

from onggi.hub.layout import OCILayout
from onggi.hub.server import serve


def main() -> None:
    """Parse the command line and serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m onggi.hub", description=__doc__)
    parser.add_argument("layout", type=Path, help="directory of an OCI image layout")
    parser.add_argument("--listen", default="127.0.0.1:5000", metavar="HOST:PORT")
    arguments = parser.parse_args()
    host, _, port = arguments.listen.rpartition(":")
    try:
        serve(OCILayout(arguments.layout), host or "127.0.0.1", int(port))
    except KeyboardInterrupt:
        return


main()

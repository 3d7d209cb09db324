"""Serve an OCI image layout as a registry, read-only."""

from __future__ import annotations

import argparse
import logging
import ssl
import sys

from onggi.errors import OnggiError
from onggi.hub.layout import OCILayout
from onggi.hub.server import serve


def main(arguments: list[str] | None = None) -> int:
    """Run ``python -m onggi.hub``; the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING if options.quiet else logging.INFO, format="%(message)s")
    host, port = options.listen
    try:
        layout = OCILayout(options.layout, options.repository)
        serve(layout, host, port, tls=_tls(options), on_ready=lambda url: _tell(layout, url))
    except (OnggiError, OSError) as error:
        hint = f" ({error.hint})" if isinstance(error, OnggiError) and error.hint else ""
        print(f"Error: {error}{hint}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m onggi.hub", description=__doc__)
    parser.add_argument("layout", help="directory of the OCI image layout")
    parser.add_argument("--listen", metavar="HOST:PORT", type=_address, default=("127.0.0.1", 5000))
    parser.add_argument("--repository", metavar="NAME", help="repository of manifests that name none")
    parser.add_argument("--tls-certificate", metavar="FILE", help="PEM chain; with --tls-key, serve HTTPS")
    parser.add_argument("--tls-key", metavar="FILE")
    parser.add_argument("--quiet", action="store_true", help="do not log requests")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if not options.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.tls_certificate, options.tls_key)
    return context


def _tell(layout: OCILayout, url: str) -> None:
    for repository in layout.repositories():
        for tag in layout.tags(repository):
            print(f"{url.partition('//')[2]}/{repository}:{tag}", flush=True)  # noqa: T201


if __name__ == "__main__":
    raise SystemExit(main())

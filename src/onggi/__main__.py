"""``python -m onggi``: the same program as ``onggi``."""

from onggi.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run())

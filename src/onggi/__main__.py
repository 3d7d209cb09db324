"""``python -m onggi``: the same program as ``onggi``."""

from onggi.cli.main import main

if __name__ == "__main__":
    main()

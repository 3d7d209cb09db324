"""Byte formats: tar, tar-split, compression. No paths, no I/O beyond binary streams."""

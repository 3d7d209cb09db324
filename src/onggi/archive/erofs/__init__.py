"""EROFS as an index over a tar: the kernel mounts the layer, and no file of it is ever made."""

"""Blobs on their way: received, resumed, verified."""

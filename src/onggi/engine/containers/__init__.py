"""Containers: made of images, run under supervisors, looked at and removed."""

from __future__ import annotations

from onggi.engine.containers.known import KnownContainer, known_containers, unwritten_containers

__all__ = ["KnownContainer", "known_containers", "unwritten_containers"]

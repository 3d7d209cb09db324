"""The C library's allocator, told how a process lives."""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_KEPT_BYTES = 64 << 20
_GROWTH_BYTES = 4 << 20


def keep_freed_memory() -> None:
    """Have the allocator keep up to 64 MiB that was freed, and give all threads one heap.

    For processes that pass many megabytes through buffers of one: by itself glibc returns each
    to the kernel, which then clears a fresh page for every 4 KiB that are inflated. Does nothing
    where the C library has no such knobs (musl).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for option, value in (
        (_M_MMAP_THRESHOLD, _KEPT_BYTES),
        (_M_TRIM_THRESHOLD, _KEPT_BYTES),
        (_M_TOP_PAD, _GROWTH_BYTES),
        (_M_ARENA_MAX, 1),
    ):
        mallopt(ctypes.c_int(option), ctypes.c_int(value))

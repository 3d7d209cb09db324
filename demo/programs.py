"""A program for the images: Debian's static busybox, or a few instructions put together by hand.

A static ELF-64 executable, all of it in one segment that is mapped at 0x400000::

    0x00  ELF header        64 bytes: machine, entry point 0x400078, program headers at 0x40
    0x40  program header    56 bytes: PT_LOAD, read and execute, the whole file
    0x78  instructions      write(1, text, length); exit(0)
          text
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

__all__ = ["busybox", "tiny_program"]

_BASE = 0x400000
_HEADERS = 64 + 56
_TEXT = b"Served by a few instructions made by hand.\n"

_X86_64 = (
    b"\xb8\x01\x00\x00\x00"  # mov eax, 1           write
    b"\xbf\x01\x00\x00\x00"  # mov edi, 1           standard output
    b"\x48\x8d\x35\x10\x00\x00\x00"  # lea rsi, [rip + 16]
    b"\xba" + struct.pack("<I", len(_TEXT)) + b"\x0f\x05"  # mov edx, length; syscall
    b"\xb8\x3c\x00\x00\x00"  # mov eax, 60          exit
    b"\x31\xff\x0f\x05"  # xor edi, edi; syscall
)
_AARCH64 = struct.pack(
    "<8I",
    0xD2800020,  # mov x0, 1                        standard output
    0x100000E1,  # adr x1, . + 28
    0xD2800002 | len(_TEXT) << 5,  # mov x2, length
    0xD2800808,  # mov x8, 64                       write
    0xD4000001,  # svc 0
    0xD2800000,  # mov x0, 0
    0xD2800BA8,  # mov x8, 93                       exit
    0xD4000001,  # svc 0
)
# Go's architecture → ELF's e_machine, instructions
_MACHINES = {"amd64": (62, _X86_64), "arm64": (183, _AARCH64)}


def busybox() -> bytes | None:
    """This machine's busybox, if it is a static one: it must run where there are no libraries."""
    found = shutil.which("busybox", path="/bin:/usr/bin")
    data = Path(found).read_bytes() if found else b""
    # A dynamic executable names its loader.
    return data if data.startswith(b"\x7fELF") and b"/ld-" not in data[:4096] else None


def tiny_program(architecture: str) -> bytes:
    """The program made by hand; for another architecture than amd64 and arm64, a script."""
    if architecture not in _MACHINES:
        return b"#!/bin/sh\necho " + _TEXT
    machine, code = _MACHINES[architecture]
    body = code + _TEXT
    size = _HEADERS + len(body)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return ident + header + segment + body

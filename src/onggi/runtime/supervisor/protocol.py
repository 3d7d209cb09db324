"""What supervisors and commands say to each other. Version 1.

A connection to the control socket (``SOCK_STREAM``) is one request, one answer, and for
*attach* and *exec* a stream afterwards.

request  = JSON object in one line: { "version": 1, "op": name, … }
answer   = JSON object in one line: { "ok": true, … } | { "error": text, "kind": name }
stream   = { frame } ;                               (from the supervisor)
frame    = kind (1 byte) 0 0 0 length (4 bytes, big-endian) payload
kind     = 1 stdout | 2 stderr | 9 result: a JSON object { "exit": number, … }, the last frame

Kinds 1 and 2 are Docker's own framing, so that an Engine API passes them on as they are. The
other way run plain bytes for standard input; shutting that half down is its end.

op        fields                                answer
========  ====================================  ==========================================
status                                          pid, paused, restarting, execs
attach    stdin, stdout, stderr                 then the stream
wait      until: exit | stopped                 exit, oom, error
signal    signal                                when sent
stop      signal, timeout (seconds, -1: ever),  exit, when the container has stopped
          shutdown (optional: by the host's)
pause     (also resume)                         when done
hold                                            when paused; goes on when the connection ends,
                                                which is closed once it does
resize    height, width, exec (id, optional)    when done
exec      id, process, detach, stdin            then the stream (detached: pid, no stream)
rootfs    bare (optional: no mounts in it)      a descriptor of the root comes along
========  ====================================  ==========================================
"""

from __future__ import annotations

import struct

__all__ = [
    "CONTROL",
    "FRAME",
    "GIVE_UP",
    "GO",
    "MAX_REQUEST_BYTES",
    "RESULT",
    "STDERR",
    "STDOUT",
    "VERSION",
    "frame",
]

VERSION = 1
GO, GIVE_UP = b"go", b"give up"
"""What who starts a container says after its instructions, where they are ``gated``."""

CONTROL = "control"
"""The socket's name in the directory of the running container."""

STDOUT, STDERR, RESULT = 1, 2, 9
FRAME = struct.Struct(">B3xI")
MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""An exec's environment may be large; nothing larger is a request."""


def frame(kind: int, payload: bytes) -> bytes:
    """One frame."""
    return FRAME.pack(kind, len(payload)) + payload

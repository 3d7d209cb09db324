"""Freed buffers are kept: a process that passes megabytes through is given no fresh pages for them."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import resource, sys
if sys.argv[1] == "keep":
    from onggi.linux.memory import keep_freed_memory
    keep_freed_memory()
def fill(count):
    for _ in range(count):
        bytearray(1 << 20)[:: 4096] = bytes(256)
fill(4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for number in range(100):
    held = [b"x" * (1 << 20) for _ in range(8)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(word: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, word], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_fewer_page_faults():
    assert faults("keep") * 5 < faults("leave")

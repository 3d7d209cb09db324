"""Memory while an image of many gigabytes goes out and comes back."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.peers.images import member, tar

LARGE_BYTES = 5 << 30
MEMORY_LIMIT_BYTES = 200_000_000

CHILD = """
import sys
sys.path[:] = {path!r}
from pathlib import Path
from tests.transfer.archives import engine
with engine(Path({root!r})) as opened:
    opened.images.load(Path({source!r}))
    opened.images.save("large:1", Path({target!r}))
    print(opened.images.get("large:1").config.diff_ids[0])
fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(fields["VmHWM"].split()[0]) * 1024)
"""


def write_archive(path: Path, size_bytes: int) -> str:
    """A docker archive of one layer of one file of zeros, itself mostly a hole; the diffID."""
    info = tarfile.TarInfo("zeros")
    info.size = size_bytes
    header = info.tobuf(tarfile.PAX_FORMAT)
    padding = bytes(-size_bytes % 512 + 1024)
    hashed = hashlib.sha256(header)
    zeros = bytes(1 << 20)
    for _ in range(size_bytes >> 20):
        hashed.update(zeros)
    hashed.update(padding)
    diff_id = f"sha256:{hashed.hexdigest()}"
    config = {"os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    manifest = [{"Config": "c.json", "RepoTags": ["large:1"], "Layers": ["l.tar"]}]
    outer = tarfile.TarInfo("l.tar")
    outer.size = len(header) + size_bytes + len(padding)
    front = tar(
        [
            member("c.json", json.dumps(config).encode()),
            member("manifest.json", json.dumps(manifest).encode()),
        ]
    )
    with open(path, "wb") as out:
        out.write(front.rstrip(b"\0").ljust(-(-len(front.rstrip(b"\0")) // 512) * 512, b"\0"))
        out.write(outer.tobuf(tarfile.PAX_FORMAT) + header)
        out.seek(size_bytes, 1)
        out.write(padding + bytes(-outer.size % 512 + 1024))
    return diff_id


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_memory_is_bounded(tmp_path: Path) -> None:
    source, target = tmp_path / "in.tar", tmp_path / "out.tar"
    diff_id = write_archive(source, LARGE_BYTES)
    code = CHILD.format(path=sys.path, root=str(tmp_path / "root"), source=str(source), target=str(target))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, peak = done.stdout.split()
    assert found == diff_id
    assert int(peak) < MEMORY_LIMIT_BYTES
    with tarfile.open(target) as archive:
        assert any(info.size > LARGE_BYTES for info in archive)

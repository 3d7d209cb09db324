"""cp with what is mounted in a container that does not run."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_containers import NONE, box, shelf  # noqa: F401  fixtures
from tests.peers.fixtures import Onggi


def test_volumes_of_a_stopped_container(box: Onggi, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "f").write_text("from the host")
    box.run("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory")
    box.run("run", "--rm", *NONE, "-v", "plain:/v", "box", "mkdir", "/v/part")
    mounts = (
        "--mount",
        "type=volume,src=plain,dst=/part,volume-subpath=part",
        "-v",
        "plain:/plain",
        "-v",
        "memory:/m",
    )
    box.run(
        "create",
        "--name",
        "mounted",
        *NONE,
        *mounts,
        "--mount",
        "type=image,src=box,dst=/image",
        "box",
        "true",
    )
    box.run("cp", str(tmp_path / "f"), "mounted:/part/f")
    box.run("cp", "mounted:/plain/part/f", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "from the host"
    box.run("cp", "mounted:/image/etc/passwd", str(tmp_path / "passwd"))
    assert (tmp_path / "passwd").read_text().startswith("root:")
    refused = box.run("cp", str(tmp_path / "f"), "mounted:/image/etc/f", check=False)
    assert refused.stderr == "Error: mounted volume is marked read-only\n"
    # What is mounted when it is used is gone with its last user: nothing was kept.
    box.run("cp", str(tmp_path / "f"), "mounted:/m/f")
    assert box.run("cp", "mounted:/m/f", str(tmp_path / "m"), check=False).returncode == 1
    assert str(box.data_root) not in Path("/proc/self/mountinfo").read_text()
    box.run("rm", "mounted")
    box.run("volume", "rm", "plain", "memory")

"""Import by dockerd 20.10 and by Onggi: the same config but for times, the same refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.peers.daemon import Daemon
from tests.peers.fixtures import Onggi
from tests.peers.images import member, tar
from tests.transfer.test_changes import ACCEPTED, REFUSED

pytestmark = [pytest.mark.dockerd, pytest.mark.xdist_group("dockerd")]

MANY = [
    'ENV A=b C="d e" F=$A',
    "LABEL q=<z>",
    "EXPOSE 80 443/udp",
    "VOLUME /data /x",
    "WORKDIR rel",
    "WORKDIR more",
    "USER u",
    "ENTRYPOINT echo hi",
    "ONBUILD RUN x",
    "HEALTHCHECK --interval=5s --retries=3 --timeout=1m CMD foo bar",
    'CMD ["x","y"]',
]


def config(root: Path, image_id: str) -> bytes:
    raw = (
        root / "image/overlay2/imagedb/content/sha256" / image_id.strip().removeprefix("sha256:")
    ).read_bytes()
    document = json.loads(raw)
    for moving in (document["created"], document["docker_version"]):
        raw = raw.replace(moving.encode(), b"")
    return raw


def test_configs_and_refusals_are_equal(dockerd: Daemon, onggi: Onggi, tmp_path: Path) -> None:
    rootfs = tmp_path / "rootfs.tar"
    rootfs.write_bytes(tar([member("a", b"1")]))
    # Docker joins several changes into one Dockerfile: a sample is enough to show that texts are up to date.
    for changes in ([], MANY, *[[change] for change in (*list(ACCEPTED)[::4], *list(REFUSED)[::4])]):
        words = [word for change in changes for word in ("-c", change)]
        theirs = dockerd.run("import", *words, "-m", "m<&>", str(rootfs), check=False)
        ours = onggi.run("import", *words, "-m", "m<&>", str(rootfs), check=False)
        assert ours.returncode == theirs.returncode, changes
        if theirs.returncode:
            assert theirs.stderr.strip().removeprefix("Error response from daemon: ") in ours.stderr
        else:
            assert config(onggi.data_root, ours.stdout) == config(dockerd.data_root, theirs.stdout), changes


def test_dockerd_runs_on_what_was_imported(onggi: Onggi, tmp_path: Path) -> None:
    onggi.run("import", str(_rootfs(tmp_path)), "made:here")
    with Daemon(onggi.data_root, tmp_path / "taker") as daemon:
        assert daemon.output("images", "--format", "{{.Repository}}:{{.Tag}}") == "made:here\n"
        daemon.run("save", "-o", str(tmp_path / "saved.tar"), "made:here")


def _rootfs(tmp_path: Path) -> Path:
    path = tmp_path / "rootfs.tar"
    path.write_bytes(tar([member("a", b"1")]))
    return path

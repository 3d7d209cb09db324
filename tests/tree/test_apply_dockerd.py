"""The same archives given to a real dockerd: the same tree, size and tar-split, or the same refusal."""

import gzip
import io
import json
import os
import re

import pytest

from onggi.archive.tar import TarReader
from onggi.archive.tarsplit_writer import TarSplitWriter
from onggi.errors import OnggiError
from onggi.tree.apply import apply_layer
from tests.peers.daemon import Daemon
from tests.tree.cases import CASES
from tests.tree.trees import snapshot

pytestmark = pytest.mark.dockerd


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    top = tmp_path_factory.mktemp("dockerd")
    with Daemon(top / "root", top / "work") as daemon:
        yield daemon


def by_docker(daemon, path):
    """What ``docker import`` makes of the archive: (tree, size, tar-split), or its error."""
    done = daemon.run("import", str(path), check=False)
    if done.returncode:
        return done.stderr.strip()
    image = done.stdout.strip()
    inspected = json.loads(daemon.output("image", "inspect", image))[0]
    chain = inspected["RootFS"]["Layers"][0].removeprefix("sha256:")
    layer = daemon.data_root / "image" / "overlay2" / "layerdb" / "sha256" / chain
    diff = daemon.data_root / "overlay2" / (layer / "cache-id").read_text() / "diff"
    result = snapshot(diff), int((layer / "size").read_text()), (layer / "tar-split.json.gz").read_bytes()
    daemon.run("rmi", image)
    return result


def by_us(path, root):
    root.mkdir(mode=0o755)
    fd = os.open(root, os.O_RDONLY)
    split = io.BytesIO()
    try:
        with open(path, "rb") as file:
            chunks = iter(lambda: file.read(700), b"")
            observer = TarSplitWriter(split, trailing_empty_segment=True)
            applied = apply_layer(TarReader(chunks, observer=observer), fd)
    except OnggiError as error:
        return error.message
    finally:
        os.close(fd)
    return snapshot(root), applied.size_bytes, split.getvalue()


@pytest.mark.parametrize("name", CASES)
def test_as_docker(daemon, tmp_path, name):
    archive = tmp_path / "layer.tar"
    archive.write_bytes(CASES[name])
    theirs, ours = by_docker(daemon, archive), by_us(archive, tmp_path / "root")
    if isinstance(theirs, str):
        assert isinstance(ours, str), f"docker refuses: {theirs}"
        assert_same_refusal(theirs, ours)
        return
    assert not isinstance(ours, str), f"docker takes it, we say: {ours}"
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
    assert ours[2] == gzip.decompress(theirs[2])


_REFUSAL = re.compile(r"Error processing tar file\((?:exit status 1\): (.*)|(.*)\): ?)$")


def assert_same_refusal(theirs, ours):
    """Our words are Docker's, or hold more: the path of an attribute; long names are cut."""
    message = next(filter(None, _REFUSAL.search(theirs).groups()))
    assert message.rsplit(": ", 1)[-1] in ours
    if len(message) < 200:
        assert set(message.split()) - {".//:"} <= set(re.split(r"[\s:]+", ours) + ours.split())

import os

import pytest


@pytest.fixture(autouse=True)
def umask_of_a_worker():
    """apply_layer leaves the umask to its caller, who sets it to 0."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def root(tmp_path):
    """Where a layer goes: beside a secret that must never change."""
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    os.utime(secret, (1, 1))
    before = os.stat(secret)
    yield tmp_path / "root"
    after = os.stat(secret)
    assert (before.st_mode, before.st_uid, before.st_mtime_ns) == (
        after.st_mode,
        after.st_uid,
        after.st_mtime_ns,
    )
    assert secret.read_text() == "untouched"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "root") == ["secret"]

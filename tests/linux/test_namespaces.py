"""A thread looks into another mount namespace; the process stays in its own."""

from __future__ import annotations

import os
import threading

import pytest

from onggi.linux.mount_calls import MountError
from onggi.linux.namespaces import empty_mount_namespace, in_mount_namespace, is_mount_namespace


@pytest.fixture
def namespace(tmp_path):
    fd = empty_mount_namespace(os.fsencode(tmp_path))
    yield fd
    os.close(fd)


def test_it_is_empty(namespace, tmp_path):
    assert is_mount_namespace(namespace)
    assert in_mount_namespace(namespace, lambda: (os.listdir("/"), os.getcwd())) == ([], "/")
    assert os.path.isdir(tmp_path)
    assert os.readlink("/proc/self/ns/mnt") != f"mnt:[{os.fstat(namespace).st_ino}]"


def test_what_is_made_there_stays(namespace):
    in_mount_namespace(namespace, lambda: os.mkdir("/d"))
    assert in_mount_namespace(namespace, lambda: os.listdir("/")) == ["d"]
    assert not os.path.exists("/d")


def test_other_threads_stay_here(namespace):
    seen = []
    ready, go = threading.Event(), threading.Event()

    def other():
        ready.set()
        go.wait()
        seen.append(os.listdir("/"))

    thread = threading.Thread(target=other)
    thread.start()
    ready.wait()
    assert in_mount_namespace(namespace, lambda: (go.set(), os.listdir("/")))[1] == []
    thread.join()
    assert len(seen[0]) > 3


def test_errors_come_out(namespace, tmp_path):
    with pytest.raises(ZeroDivisionError):
        in_mount_namespace(namespace, lambda: 1 // 0)
    file = os.open(tmp_path, os.O_RDONLY)
    assert not is_mount_namespace(file)
    with pytest.raises(MountError, match="enter the mount namespace"):
        in_mount_namespace(file, lambda: None)
    os.close(file)
    with pytest.raises(MountError):
        empty_mount_namespace(b"/nonexistent")

"""Leases exclude as they say, between threads and processes, and survive their file's removal."""

from __future__ import annotations

import os
import threading

import pytest

from onggi.cancel import CancelToken
from onggi.errors import DeadlineExceeded
from onggi.store.locks import LockDirectory


@pytest.fixture
def locks(tmp_path):
    return LockDirectory(tmp_path / "locks")


def test_shared_leases_go_together(locks):
    with locks.acquire("chain-a", exclusive=False), locks.acquire("chain-a", exclusive=False):
        assert locks.try_acquire("chain-a", exclusive=True) is None


def test_exclusive_excludes_in_one_process(locks):
    with locks.acquire("chain-a", exclusive=True):
        assert locks.try_acquire("chain-a", exclusive=False) is None
        with locks.acquire("chain-b", exclusive=True):
            pass
    lease = locks.try_acquire("chain-a", exclusive=True)
    assert lease is not None
    lease.release()


def test_exclusive_excludes_between_processes(locks):
    with locks.acquire("x", exclusive=True):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if locks.try_acquire("x", exclusive=False) is None else 1)
        assert os.waitpid(pid, 0)[1] == 0


def test_a_child_keeps_the_lease_alive(locks):
    lease = locks.acquire("x", exclusive=True)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    lease.release()
    assert locks.try_acquire("x", exclusive=True) is None
    os.close(write)
    os.waitpid(pid, 0)
    again = locks.try_acquire("x", exclusive=True)
    assert again is not None
    again.release()


def test_share_is_atomic(locks):
    """A waiter for the exclusive lease never gets in while the maker turns to sharing."""
    for _ in range(50):
        lease = locks.acquire("x", exclusive=True)
        got: list[object] = []
        stop = threading.Event()

        def grab(got=got, stop=stop):
            while not stop.is_set():
                other = locks.try_acquire("x", exclusive=True)
                if other is not None:
                    got.append(other)
                    other.release()
                    return

        thread = threading.Thread(target=grab)
        thread.start()
        lease.share()
        assert not got
        stop.set()
        thread.join()
        lease.release()


def test_waiting_ends_with_the_deadline(locks):
    with locks.acquire("x", exclusive=True), pytest.raises(DeadlineExceeded):
        locks.acquire("x", exclusive=True, cancel=CancelToken(0.05))


def test_removed_lock_file_is_not_locked_twice(locks, tmp_path):
    """Whoever waited on a file that its holder removed must lock the new file."""
    lease = locks.acquire("x", exclusive=True)
    results: list[bool] = []

    def wait():
        with locks.acquire("x", exclusive=True) as mine:
            results.append(os.stat(mine.path).st_ino == os.fstat(mine.fileno()).st_ino)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    lease.release(remove=True)
    for thread in threads:
        thread.join()
    assert results == [True] * 4

"""Who is told of a core that has nothing left to do, and when."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from onggi.drivers.packets import CORE_FREE
from onggi.layers.free_cores import FreeCores


class Worker:
    """Both ends of a control socket."""

    def __init__(self) -> None:
        self.control, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def told(self) -> int:
        """How often since it was asked last."""
        times = 0
        while True:
            try:
                assert self.theirs.recv(16, socket.MSG_DONTWAIT) == CORE_FREE
            except BlockingIOError:
                return times
            times += 1

    def close(self) -> None:
        self.control.close()
        self.theirs.close()


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    made = [Worker() for _ in range(3)]
    yield made
    for worker in made:
        worker.close()


def test_a_core_that_was_free_from_the_start(workers: list[Worker]) -> None:
    cores = FreeCores(1)
    with cores.wanted_by(workers[0].control), cores.wanted_by(workers[1].control):
        assert [worker.told() for worker in workers] == [1, 0, 0]


def test_a_core_that_becomes_free(workers: list[Worker]) -> None:
    cores = FreeCores(0)
    with cores.wanted_by(workers[0].control), cores.wanted_by(workers[1].control):
        assert [worker.told() for worker in workers] == [0, 0, 0]
        cores.add()
        assert [worker.told() for worker in workers] == [1, 0, 0]
        cores.add()
        assert [worker.told() for worker in workers] == [0, 1, 0]
        cores.add()
        assert [worker.told() for worker in workers] == [0, 0, 0]
        with cores.wanted_by(workers[2].control):
            assert workers[2].told() == 1


def test_a_core_comes_back_with_its_worker(workers: list[Worker]) -> None:
    cores = FreeCores(1)
    with cores.wanted_by(workers[0].control):
        pass
    with cores.wanted_by(workers[1].control):
        assert workers[1].told() == 1


def test_a_worker_that_has_died(workers: list[Worker]) -> None:
    cores = FreeCores(1)
    workers[0].theirs.close()
    with cores.wanted_by(workers[0].control):
        pass
    with cores.wanted_by(workers[1].control):
        assert workers[1].told() == 1

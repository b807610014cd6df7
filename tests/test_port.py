from __future__ import annotations

import pickle
import socket
import sys
from contextlib import closing

import pytest

from app.port import Port, alone_at, bound

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux deals connections out")


def free() -> socket.socket:
    one = socket.socket()
    one.bind(("127.0.0.1", 0))
    return one


def test_every_worker_has_a_socket_of_its_own_and_a_share() -> None:
    with closing(alone_at(free())) as port:
        workers = [pickle.loads(pickle.dumps(port)) for _ in range(2)]  # noqa: S301 -- our own
        clients = []
        for worker in workers:
            worker.listen(200)
            worker.setblocking(False)
        clients = [socket.create_connection(port.address) for _ in range(200)]
        accepted = []
        for worker in workers:
            taken = 0
            while True:
                try:
                    worker.accept()[0].close()
                except BlockingIOError:
                    break
                taken += 1
            accepted.append(taken)
        for one in (*workers, *clients):
            one.close()
    assert sum(accepted) == 200
    assert min(accepted) > 50  # of 200, by chance less than once in 10^11 times


def test_who_does_not_listen_yet_is_dealt_nothing() -> None:
    with (
        closing(alone_at(free())) as port,
        bound(port.family, port.address),
        bound(port.family, port.address) as worker,
    ):
        worker.listen(50)
        clients = [socket.create_connection(port.address) for _ in range(50)]
        for client in clients:
            worker.accept()[0].close()
            client.close()


def test_the_port_stays_reserved() -> None:
    with (
        closing(alone_at(free())) as port,
        socket.socket() as other,
        pytest.raises(OSError, match="in use"),
    ):
        other.bind(port.address)


def test_an_address_in_use_is_an_error() -> None:
    with free() as one, pytest.raises(OSError, match="in use"):
        Port(one.family, one.getsockname())

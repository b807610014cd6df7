"""Floods are sent whole, without a word read of the answers."""

from __future__ import annotations

import socket
import threading

import pytest

from benchmarks import floods


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floods, "PIPELINING_CLIENTS", 2)
    monkeypatch.setattr(floods, "SEND_SECONDS", 0.05)


def test_connections_that_nobody_reads_stay_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert floods.pipeline(port, hold_seconds=0) == {"unread": 2}


def test_connections_that_the_server_closes_are_counted() -> None:
    def close_both() -> None:
        for _ in range(2):
            listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        closing = threading.Thread(target=close_both)
        closing.start()
        assert floods.pipeline(listener.getsockname()[1], hold_seconds=0) == {"closed": 2}
        closing.join()

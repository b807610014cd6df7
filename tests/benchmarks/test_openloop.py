"""The open loop counts every request, and the time that each waited."""

from __future__ import annotations

import gc
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from benchmarks.bodies import Body
from benchmarks.openloop import OpenLoop

ASK = Body(b"ask", {"content-type": "text/plain"})
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
REFUSED = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno"


@contextmanager
def answering(answer: bytes, *, pause_seconds: float = 0.0, length: int = 3) -> Iterator[str]:
    """Serve every request with a body of a length the same answer, in two pieces."""

    class Conversation(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline() == b"POST /predict HTTP/1.1\r\n":
                while self.rfile.readline() != b"\r\n":
                    pass
                assert len(self.rfile.read(length)) == length
                time.sleep(pause_seconds)
                with suppress(ConnectionError):
                    self.wfile.write(answer[:20])
                    self.wfile.write(answer[20:])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/predict"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("answer", "failed"),
    [(LENGTH, 0), (CHUNKED, 0), (REFUSED, 20)],
    ids=["length", "chunked", "refused"],
)
def test_every_request_is_counted(answer: bytes, failed: int) -> None:
    with answering(answer) as url:
        figures = OpenLoop(url, [ASK], connections=4).run(rate=100, seconds=0.2)
    assert gc.isenabled()
    assert figures["failed"] == failed
    assert figures["requests"] == 20 - failed
    assert figures["offered_per_second"] == 100
    assert figures["p50_ms"] <= figures["p99_ms"]


def test_large_bodies_are_sent_whole() -> None:
    photo = Body(bytes(5_000_000))
    with answering(LENGTH, length=len(photo.data)) as url:
        figures = OpenLoop(url, [photo], connections=2).run(rate=20, seconds=0.2)
    assert figures["requests"] == 4


def test_the_wait_for_a_slow_server_is_counted() -> None:
    with answering(LENGTH, pause_seconds=0.1) as url:
        figures = OpenLoop(url, [ASK], connections=1).run(rate=50, seconds=0.4)
    # Twenty are due in 0.4 s and each takes 0.1 s: the last waits for all the others, and some for
    # longer than the loop waits for them.
    assert figures["failed"] >= 5
    assert figures["answered_per_second"] <= 10
    assert figures["p99_ms"] >= 1000

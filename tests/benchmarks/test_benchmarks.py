"""The benchmarks' arithmetic and drivers; that servers are fast is theirs to say."""

from __future__ import annotations

import gc
import os
import re
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from PIL import Image

from benchmarks import bars, bodies, servers, wrk
from benchmarks.bars import Bar, Medians
from benchmarks.bodies import Body
from benchmarks.openloop import OpenLoop
from benchmarks.peers import digit
from benchmarks.peers.catalog import PEERS, REQUIREMENTS, Peer
from tests.conftest import ROOT, png

WRK = """Running 3s test @ http://127.0.0.1:8000/predict
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    29.52ms    6.32ms  81.15ms   78.57%
    Req/Sec     2.17k   141.86     2.39k    70.00%
  Latency Distribution
     50%  870.00us
     75%   31.61ms
     90%   36.94ms
     99%    1.20s
  6481 requests in 3.00s, 2.15MB read
Requests/sec:   2158.41
Transfer/sec:    733.42KB
"""
ERRORS = "  Socket errors: connect 0, read 2, write 0, timeout 1\n  Non-2xx or 3xx responses: 40\n"


def test_what_wrk_says() -> None:
    assert wrk.parse(WRK) == {
        "requests_per_second": 2158.41,
        "p50_ms": 0.87,
        "p99_ms": 1200.0,
        "failed": 0.0,
    }
    assert wrk.parse(WRK + ERRORS)["failed"] == 43
    with pytest.raises(ValueError, match="did not say"):
        wrk.parse("unable to connect")


@pytest.mark.parametrize(
    "text",
    [
        '{"predictions":[{"label":7,"confidence":0.9,"probabilities":[0.1,9e-1]}]}',
        '[{"label": 7, "probabilities": [0.1, 0.9]}]',
        '{"outputs":[{"data":["{\\"label\\": 7, \\"probabilities\\": [0.1, 0.9]}"]}]}',
    ],
    ids=["ours", "plain", "within a tensor"],
)
def test_answers_are_found_in_any_protocol(text: str) -> None:
    assert servers.parse_answer(text) == (7, [0.1, 0.9])


def test_no_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="No label"):
        servers.parse_answer('{"label":null,"probabilities":[]}')


def test_servers_must_agree() -> None:
    mine = [(7, [0.1, 0.9]), (7, [0.2, 0.8])]
    assert servers.disagreements(mine, mine) == []
    assert servers.disagreements(mine, [(7, [0.2, 0.8]), (7, [0.4, 0.6])]) == [0]
    assert servers.disagreements(mine, [(7, [0.1, 0.9]), (1, [0.2, 0.8])]) == [1]


def test_processes_are_found_by_their_mark() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        env=os.environ | {servers.MARK: "test-mark"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert servers.processes("test-mark") == [process.pid]
        assert 1 < servers.megabytes([process.pid]) < 1000
        process.kill()
    assert servers.processes("test-mark") == []


def rates(**figures: float) -> dict[str, float]:
    return {"p50_ms": 2.0, "p99_ms": 10.0, "failed": 0.0} | figures


MEDIANS: Medians = {
    "digits/1/png-28/64": rates(requests_per_second=1200),
    "mosec/1/png-28/64": rates(requests_per_second=1000),
    "digits/2/png-28/64": rates(requests_per_second=3000),
    "litserve/2/png-28/64": rates(requests_per_second=500),
    "mosec/2/png-28/64": rates(requests_per_second=2000),
    "bentoml/2/png-28/64": rates(requests_per_second=9000, failed=1),
    "digits/2/png-28/1": rates(p50_ms=1.0),
    "mosec/2/png-28/1": rates(p50_ms=4.0),
    "HTTP floor/2/png-28/64": rates(core_ms=0.2, driver_ms=0.1),
    "bare/2/compute/16": {"images_per_second": 6_000, "core_ms": 0.3},
    "digits/2/json-64/8": rates(requests_per_second=90, failed=3),
    "bare/2/compute/64": {"images_per_second": 5_000, "core_ms": 0.4},
}


def test_the_best_peer_answered_everything() -> None:
    asked = [("png-28", 64, "requests_per_second"), ("png-28", 1, "p50_ms"), ("png-28", 4, "")]
    found = [bars.best_peer(MEDIANS, "2", *one) for one in asked]
    assert found == [("mosec", 2000), ("mosec", 4.0), None]


def test_ratios_of_a_run() -> None:
    values = [one.value for one in bars.bars(MEDIANS, "1", "2", cores=2)]
    assert values[:5] == [1.2, 3.0, 1.5, None, 0.25]
    assert values[6] == pytest.approx(3000 / 4000)
    assert values[7] == pytest.approx(3000 * 0.6 / 2000)
    assert values[8] is None  # some were refused


def test_fall_counts_from_the_peak_on() -> None:
    assert bars.fall([100, 200, 190, 150, 170]) == pytest.approx(0.25)
    assert bars.fall([100, 150, 200]) == 0
    assert bars.fall([100, None, 200]) is None


def test_table_says_which_bars_are_held() -> None:
    more, less = Bar("more", 1.1, 1.0, 1.3), Bar("less", 0.9, 0.8, 0.5)
    assert bars.table([more, less]).splitlines()[2:] == [
        "| more | 1.10 | ≥ 1.0 | 1.3 | held |",
        "| less | 0.90 | ≤ 0.8 | 0.5 | MISSED |",
    ]
    assert Bar("less", 0.4, 0.8, 0.5).verdict == "reached"
    assert Bar("less", None, 0.8, 0.5).verdict == "not measured"


def test_a_peer_that_answers_nothing_is_not_the_quickest() -> None:
    medians = {
        "slow/1/png-28/1": rates(requests_per_second=0, p50_ms=0.0),
        "other/1/png-28/1": rates(requests_per_second=500, p50_ms=1.7),
    }
    assert bars.best_peer(medians, "1", "png-28", 1, "p50_ms") == ("other", 1.7)


@contextmanager
def answering(answer: bytes, *, pause_seconds: float = 0.0) -> Iterator[str]:
    """A server that gives every request with the body `ask` the same answer, in two pieces."""

    class Conversation(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline() == b"POST /predict HTTP/1.1\r\n":
                while self.rfile.readline() != b"\r\n":
                    pass
                assert self.rfile.read(3) == b"ask"
                time.sleep(pause_seconds)
                with suppress(ConnectionError):
                    self.wfile.write(answer[:20])
                    self.wfile.write(answer[20:])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/predict"
        server.shutdown()
        thread.join()


ASK = Body(b"ask", {"content-type": "text/plain"})
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
REFUSED = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno"


@pytest.mark.parametrize(
    ("answer", "failed"),
    [(LENGTH, 0), (CHUNKED, 0), (REFUSED, 20)],
    ids=["length", "chunked", "refused"],
)
def test_open_loop_counts_every_request(answer: bytes, failed: int) -> None:
    with answering(answer) as url:
        figures = OpenLoop(url, [ASK], connections=4).run(rate=100, seconds=0.2)
    assert gc.isenabled()
    assert figures["failed"] == failed
    assert figures["offered_per_second"] == 100
    assert figures["p50_ms"] <= figures["p99_ms"]


def test_open_loop_counts_the_wait_for_a_slow_server() -> None:
    with answering(LENGTH, pause_seconds=0.1) as url:
        figures = OpenLoop(url, [ASK], connections=1).run(rate=50, seconds=0.4)
    # Twenty are due in 0.4 s and each takes 0.1 s: whoever comes last waits for all the others, and
    # some for longer than is waited for them.
    assert figures["failed"] >= 5
    assert figures["answered_per_second"] <= 10
    assert figures["p99_ms"] >= 1000


@pytest.mark.parametrize("peer", PEERS, ids=[peer.name for peer in PEERS])
def test_peers_are_pinned_and_run_the_same_tensorflow(peer: Peer) -> None:
    locked = (ROOT / "requirements" / "test.txt").read_text()
    wanted = (REQUIREMENTS / f"{peer.environment or peer.name}.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z-]+(\[[a-z]+\])?==[\d.]+", line) for line in wanted)
    tensorflow = next(line for line in wanted if line.startswith("tensorflow"))
    assert f"\n{tensorflow} " in locked
    assert (REQUIREMENTS / f"{peer.name}.py").is_file()


def test_peers_see_what_is_opaque_or_bright() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 12:16] = 255
    assert (digit.read(png(image)) == image).all()
    seen = digit.read(png(bodies.canvas(image)))
    assert np.abs(seen.astype(int) - image).mean() < 8
    assert Image.fromarray(seen).size == (28, 28)


def test_digits_are_sent_as_mnist_would_have_them() -> None:
    images = bodies.digits(ROOT / "models" / "digits" / "1")
    assert images.shape[1:] == (28, 28)
    assert images.dtype == np.uint8
    assert len(images) >= 10

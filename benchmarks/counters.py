"""`python -m benchmarks.counters`: do the metrics count what clients say was answered?

Two workers get 100,000 requests of all kinds, good and bad, on connections that are kept; on the
way a worker is killed. Then each method's statuses are compared, as the clients counted them and as
`/metrics` has them. Of the connections that break, each may have had an answer on its way: counted
and not received, or received and not yet counted. All others are equal.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from tests.faults.server import (
    GOLDEN,
    Server,
    file_part,
    multipart,
    read_reply,
    request,
    serving,
    wait_until,
)

Answers = Counter[tuple[str, int]]
"""How many answers had which method and status."""

CONNECTIONS = 16
PER_CONNECTION = 500
"""Requests of a connection; the next one may be another worker's."""
COUNT = re.compile(
    r'^digits_http_request_duration_seconds_count\{method="(\w+)",route="([^"]+)",status="(\d+)"\} '
    r"(\S+)$",
    re.MULTILINE,
)
PROBE = "/metrics"


def mixed() -> list[tuple[str, bytes]]:
    """Method and content of requests of all kinds."""
    form, kind = multipart(file_part(GOLDEN), file_part(GOLDEN))
    array = json.dumps({"images": [[[0] * 28] * 28] * 8}).encode()
    tensors = json.dumps({"instances": [[[9] * 28] * 28]}).encode()
    as_is, as_json = "/predict?normalize=false", {"content-type": "application/json"}
    return [
        *[("POST", request("POST", as_is, {"content-type": "image/png"}, GOLDEN))] * 4,
        ("POST", request("POST", as_is, {"content-type": kind}, form)),
        ("POST", request("POST", "/predict", as_json, array)),
        ("POST", request("POST", "/v1/models/digits:predict", as_json, tensors)),
        ("POST", request("POST", "/predict", as_json, b'{"image": ')),
        ("POST", request("POST", "/predict", {"content-type": "text/html"}, b"<p>")),
        ("POST", request("POST", "/predict?size=9", {"content-type": "image/png"}, GOLDEN)),
        ("GET", request("GET", "/healthz")),
        ("GET", request("GET", "/nowhere")),
        ("GET", request("GET", "/predict")),
        ("DELETE", request("DELETE", "/healthz")),
    ]


def counted(server: Server) -> Answers:
    """What the metrics have, but for those who ask for them."""
    answers: Answers = Counter()
    for method, route, status, count in COUNT.findall(server.get(PROBE).body.decode()):
        if route != PROBE and float(count):
            answers[method, int(status)] += int(float(count))
    return answers


def send(
    server: Server, requests: Sequence[tuple[str, bytes]], answered: Callable[[], None]
) -> tuple[Answers, bool]:
    """Send requests on one connection; return what was answered, and whether it broke."""
    answers: Answers = Counter()
    with suppress(OSError, HTTPException), server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for method, content in requests:
            connection.sendall(content)
            answers[method, read_reply(connection, method).status] += 1
            answered()
    return answers, answers.total() < len(requests)


def workers(server: Server) -> list[int]:
    """The processes of a server's workers."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def open_files(pid: int) -> int:
    """How many files and connections a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def run(server: Server, total: int) -> tuple[Answers, int]:
    """Send requests from many clients, and kill a worker after a third of them.

    Returns:
        What was answered, and how many connections broke.
    """
    kinds = mixed()
    done = threading.Semaphore(0)
    answers: Answers = Counter()
    broken = 0
    with ThreadPoolExecutor(CONNECTIONS) as clients:
        while answers.total() < total:
            left = total - answers.total()
            size = min(PER_CONNECTION, -(-left // CONNECTIONS))
            first = answers.total()
            parts = [
                [kinds[(first + each + place) % len(kinds)] for place in range(size)]
                for each in range(min(CONNECTIONS, -(-left // size)))
            ]
            parts[-1] = parts[-1][: left - size * (len(parts) - 1)]
            under_way = [clients.submit(send, server, part, done.release) for part in parts]
            if first <= total / 3 < first + left and not broken:
                for _ in range(sum(map(len, parts)) // 2):
                    done.acquire()
                os.kill(max(workers(server), key=open_files), signal.SIGKILL)  # a busy one
            for each in under_way:
                found, lost = each.result()
                answers += found
                broken += lost
    return answers, broken


def main() -> None:
    """Print what clients and metrics counted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counters", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--models", type=Path, default=Path("models/digits"))
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(options.models.resolve(), Path(folder) / "log", workers=2) as server,
    ):
        wait_until(lambda: len(workers(server)) == 2)
        before = counted(server)
        answers, broken = run(server, options.requests)
        with suppress(AssertionError):
            wait_until(lambda: counted(server) - before == answers, seconds=5)
        found = counted(server) - before
    for method, status in sorted(answers | found):
        key = method, status
        print(f"{method:8}{status:5}  answered {answers[key]:8,}  counted {found[key]:8,}")
    print(
        f"answered {answers.total():,}, counted {found.total():,}; connections that "
        f"broke when a worker was killed: {broken}"
    )


if __name__ == "__main__":
    main()

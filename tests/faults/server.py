"""A real server process to send things to, and what has to hold of it afterwards."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, png, spoken

ECHO = "zxechoxz"
"""Put into whatever is sent: it may come back in no body and stand in no log line."""

START_SECONDS = 300  # for TensorFlow to load where many things run
ANSWER_SECONDS = 60

GOLDEN = png(spoken(7))


@dataclass(frozen=True)
class Reply:
    """One HTTP response, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """The slug of a problem document, which this has to be."""
        assert self.headers["content-type"] == "application/problem+json", self.body
        assert self.json["status"] == self.status
        assert self.json["request_id"] == self.headers["x-request-id"]
        return str(self.json["type"].removeprefix("/problems/"))


@dataclass
class Server:
    """A running `python -m app`."""

    process: subprocess.Popen[bytes]
    log_file: Path
    port: int
    grpc_port: int = 0
    golden: Reply | None = None
    seen_of_log: int = 0

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS)

    def exchange(self, *segments: bytes) -> Reply:
        """Send the segments, one after the other, wanted or not, and read one reply."""
        with self.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(ConnectionError):  # an early refusal is no reason not to read it
                for segment in segments:
                    connection.sendall(segment)
            return read_reply(connection)

    def get(self, path: str) -> Reply:
        return self.exchange(request("GET", path))

    def predict(self, body: bytes, kind: str = "image/png", query: str = "") -> Reply:
        return self.exchange(request("POST", f"/predict{query}", {"content-type": kind}, body))

    def metric(self, name: str) -> float:
        """A figure as `/metrics` says it is now; `name` has its labels, sorted, if any."""
        figures = self.get("/metrics").body.decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", figures, re.MULTILINE)
        assert found, name
        return float(found[1])

    @property
    def live_version(self) -> str:
        """The version that answers, as `/healthz` says."""
        return str(self.get("/healthz").json["model"]["version"])

    def resources(self) -> dict[str, int]:
        """Threads, open files and resident bytes of the process."""
        proc = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":\t") for line in (proc / "status").read_text().splitlines())
        return {
            "threads": int(status["Threads"]),
            "files": len(list((proc / "fd").iterdir())),
            "bytes": int(status["VmRSS"].split()[0]) * 1024,
        }


def request(
    method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> bytes:
    """A request with the length that its body has."""
    lines = [f"{method} {path} HTTP/1.1", "host: digits"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method == "POST":
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def multipart(
    *parts: tuple[str, bytes], boundary: str = "limit", end: bool = True
) -> tuple[bytes, str]:
    """A body of (headers, content) parts, and its content type."""
    edge = f"--{boundary}\r\n".encode()
    body = b"".join(
        edge + headers.encode("latin-1") + b"\r\n\r\n" + content + b"\r\n"
        for headers, content in parts
    )
    return body + edge[:-2] + b"--\r\n" * end, f"multipart/form-data; boundary={boundary}"


def file_part(content: bytes, name: str = "seven.png") -> tuple[str, bytes]:
    return f'Content-Disposition: form-data; name="file"; filename="{name}"', content


def read_reply(connection: socket.socket, method: str = "POST") -> Reply:
    """The next final response on the connection; a `100 Continue` before it is skipped."""
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    return Reply(response.status, response.headers, response.read())


def wait_until(condition: Any, seconds: float = ANSWER_SECONDS) -> Any:
    """What `condition()` returns as soon as that is true. Fails after `seconds`."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return result


def start(models: Path, log_file: Path, **settings: object) -> Server:
    """`python -m app` with these settings; its port is known when it says that it listens."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DIGITS_")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    wanted = {"port": 0, "models_dir": models, "workers": 1, "worker_threads": 2, **settings}
    environment |= {f"DIGITS_{name.upper()}": str(value) for name, value in wanted.items()}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    return Server(process, log_file, port=0, grpc_port=int(str(settings.get("grpc_port", 0))))


def free_port() -> int:
    """A port that nobody has; for a server that can't say which it took."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def serving(models: Path, log_file: Path, **settings: object) -> Iterator[Server]:
    """A server that answers, and is killed in the end if it still runs."""
    server = start(models, log_file, **settings)
    try:
        wait_until_listening(server)
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def wait_until_listening(server: Server) -> None:
    def port() -> int:
        assert server.process.poll() is None, server.log
        found = re.search(r"ready: open http://localhost:(\d+) ", server.log)
        return int(found[1]) if found else 0

    server.port = wait_until(port, START_SECONDS)


def assert_unharmed(server: Server, replies: Iterable[Reply] = ()) -> None:
    """It still runs, is healthy, answers as before, and has given nothing away."""
    assert server.process.poll() is None, server.log
    assert server.get("/healthz").json["status"] == "ok"
    golden = server.predict(GOLDEN, query="?normalize=false")
    assert golden.status == 200
    server.golden = server.golden or golden
    assert golden.body == server.golden.body
    news = server.log[server.seen_of_log :]
    server.seen_of_log += len(news)
    for text in (news, *(reply.body.decode("utf-8", "replace") for reply in replies)):
        assert "Traceback" not in text, text
        assert 'File "' not in text, text
        assert ECHO not in text.lower(), text


POOL_THREADS = 8
"""Threads that the process's pools may start late: they do when all the others are busy."""


def assert_back_to(before: dict[str, int], server: Server, *, more_bytes: int) -> None:
    """Files, threads but for the pools', and resident memory within `more_bytes` are as before."""
    wait_until(lambda: server.resources()["files"] <= before["files"])
    after = server.resources()
    assert after["threads"] <= before["threads"] + POOL_THREADS
    assert after["bytes"] <= before["bytes"] + more_bytes, (before, after)

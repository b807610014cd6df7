"""The service under the worst legal requests: how late `/healthz` is, and how much memory it takes.

Each case of `worst.py` is sent once, and then by 64 clients at once; meanwhile processes of
their own (`probe.py`) ask for `/healthz`, and the memory of all processes is sampled.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from benchmarks import machine, processes, worst
from benchmarks.bodies import Body
from benchmarks.servers import Server
from benchmarks.worst import WorstCase
from benchmarks.wrk import Figures

ANSWER_SECONDS = 60
WORKERS = 2
ACCEPT_SECONDS = 10
QUIET_SECONDS = 0.3
"""Between the end of a case and the next, and before the first, in which the probe sees rest."""
SAMPLE_SECONDS = 0.05
REST_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """A case's figures, and how its requests were answered (by status, or `none`)."""

    figures: Figures
    statuses: dict[str, int]

    def record(self) -> Figures:
        """Return both as figures."""
        return self.figures | {f"status_{name}": float(n) for name, n in self.statuses.items()}


class MemorySampler:
    """Samples the anonymous memory of a server's processes in a thread, MiB."""

    def __init__(self, server: Server) -> None:
        """Watch the processes that the server has now."""
        self.processes = server.processes
        self.peak_megabytes = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.peak_megabytes = max(self.peak_megabytes, self.megabytes())

    def megabytes(self) -> float:
        """Return what they hold now."""
        return processes.anonymous_megabytes(self.processes)


class Probes:
    """The other ends of some `python -m benchmarks.probe`, one for each worker."""

    def __init__(self) -> None:
        """Begin with none."""
        self.running: list[subprocess.Popen[str]] = []

    def report(self) -> Figures:
        """Return the worst latency since the last report, and the worse of the medians."""
        reports = [self._report(process) for process in self.running]
        return {name: max(report[name] for report in reports) for name in reports[0]}

    def _report(self, process: subprocess.Popen[str]) -> Figures:
        assert process.stdin  # noqa: S101 -- pipes were asked for
        assert process.stdout  # noqa: S101
        print("report", file=process.stdin, flush=True)
        report: Figures = json.loads(process.stdout.readline())
        return report


@contextmanager
def probing(server: Server) -> Iterator[Probes]:
    """Ask a server for `/healthz` meanwhile, on connections to each of its workers.

    Idle workers leave every connection to the same of them. So those that have a connection are
    stopped (SIGSTOP) until the others have accepted some, too.

    Raises:
        OSError: Nobody listens, or a worker accepts no connection.
    """
    alive = server.processes
    with ExitStack() as stack:
        probes = Probes()
        try:
            for count in range(1, WORKERS + 1):
                probes.running.append(stack.enter_context(_probe(server.port)))
                owners = _wait_for_owners(server.port, alive, count)
                processes.send(signal.SIGSTOP, [*owners])
        finally:
            processes.send(signal.SIGCONT, alive)
        yield probes


def _wait_for_owners(port: int, alive: Sequence[int], count: int) -> set[int]:
    end = time.monotonic() + ACCEPT_SECONDS
    while time.monotonic() < end:
        owners = processes.owners(port, alive)
        if len(owners) >= count:
            return owners
        time.sleep(SAMPLE_SECONDS)
    raise OSError(f"Of {WORKERS} workers some accept no connection on port {port}.")


@contextmanager
def _probe(port: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.probe", str(port)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout  # noqa: S101 -- a pipe was asked for
        if process.stdout.readline() != "ready\n":
            raise OSError(f"The probe of port {port} did not start.")
        try:
            yield process
        finally:
            process.terminate()


def measure(probes: Probes, send: Callable[[], Counter[str]]) -> Outcome:
    """Send requests and return the worst `/healthz` meanwhile.

    Args:
        probes: Ask for it.
        send: Sends all requests and returns how many of their answers had which status.

    Returns:
        Figures `health_worst_ms`, `health_p50_ms`, `health_before_ms` (the worst at rest),
        `probe_late_ms` (of the probe itself), `stolen_ms` (of the cores, by the hypervisor) and
        `seconds` until the last answer; and the statuses of the answers.
    """
    probes.report()
    time.sleep(QUIET_SECONDS)
    before = probes.report()
    began, stolen = time.perf_counter(), -machine.stolen_seconds()
    statuses = send()
    stolen += machine.stolen_seconds()
    seconds = time.perf_counter() - began
    during = probes.report()
    figures = {
        "health_worst_ms": during["worst_ms"],
        "health_p50_ms": during["p50_ms"],
        "health_before_ms": before["worst_ms"],
        "probe_late_ms": during["late_ms"],
        "stolen_ms": 1000 * stolen,
        "seconds": seconds,
    }
    return Outcome(figures, dict(statuses))


def make_body(server: Server, case: WorstCase) -> Body:
    """Return the largest body of a case that the server takes."""

    def status_of(body: Body) -> int:
        (status,) = send_together(server.port, server.path, body, 1)
        return int(status) if status.isdigit() else 0

    return worst.largest_legal(case, status_of)


def send_together(port: int, target: str, body: Body, count: int) -> Counter[str]:
    """Send a body on `count` connections at once; return how many answers had which status.

    Requests without an answer in `ANSWER_SECONDS` count as `none`.
    """
    statuses: Counter[str] = Counter()
    request = body.request("localhost", target)
    clients = [
        threading.Thread(target=_send_one, args=(port, request, statuses)) for _ in range(count)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return statuses


def _send_one(port: int, request: bytes, statuses: Counter[str]) -> None:
    status, received = "none", b""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(ANSWER_SECONDS)
        with suppress(ConnectionError):  # refused before the whole of it was sent
            connection.sendall(request)
        while b"\r\n" not in received:
            data = connection.recv(65536)
            if not data:
                break
            received += data
        if received.startswith(b"HTTP/1.1 "):
            status = received[9:12].decode()
    statuses[status] += 1


def memory_figures(sampler: MemorySampler) -> Figures:
    """Wait a minute, and return the peak so far and the rest that is left, GiB."""
    time.sleep(REST_SECONDS)
    return {
        "peak_gigabytes": sampler.peak_megabytes / 1024,
        "after_gigabytes": sampler.megabytes() / 1024,
    }

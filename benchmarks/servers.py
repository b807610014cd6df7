"""The servers under test: started one after the other, asleep while another is measured."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from benchmarks import bodies, processes
from benchmarks.bodies import Body, Form
from benchmarks.peers.catalog import Peer
from benchmarks.wrk import Figures

START_SECONDS = 120
WAKE_SECONDS = 0.3
"""Until all processes of a stopped server have run again: the first would accept every
connection."""
SETTLE_SECONDS = 20.0
"""Longest wait until a server is done with requests whose client is gone."""
SETTLE_STEP_SECONDS = 0.1
LOG_TAIL = 2000


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, its processes, and how it is asked.

    Attributes:
        name: `digits`, a peer's name or a floor's.
        address: Scheme, host and port.
        mark: Value of `processes.MARK` in its environment.
        form: Puts an image file into its request body.
        path: Where it takes images.
        json_path: Where it takes 28×28 arrays as JSON; None where it does not.
        first_answer_seconds: From its start to its first answer.
    """

    name: str
    address: str
    mark: str
    form: Form = bodies.multipart
    path: str = "/predict"
    json_path: str | None = "/predict"
    first_answer_seconds: float = 0.0

    @property
    def url(self) -> str:
        """Where it takes images."""
        return self.address + self.path

    @property
    def port(self) -> int:
        """Its TCP port on this machine."""
        return urlsplit(self.address).port or 80

    @property
    def processes(self) -> list[int]:
        """Its processes by now."""
        return processes.marked(self.mark)

    def megabytes(self) -> float:
        """Return the resident memory of all its processes, MiB."""
        return processes.megabytes(self.processes)

    def core_seconds(self) -> float:
        """Return the CPU time of all its processes so far, seconds of a core."""
        return processes.core_seconds(self.processes)

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run for a measurement, and until it has worked off what that left."""
        processes.send(signal.SIGCONT, self.processes)
        time.sleep(WAKE_SECONDS)
        try:
            yield
            self.settle()
        finally:
            processes.send(signal.SIGSTOP, self.processes)

    def settle(self) -> None:
        """Wait until it computes little, twice in a row: others may have had the cores once."""
        end, alive, quiet = time.monotonic() + SETTLE_SECONDS, self.processes, 0
        before = processes.core_seconds(alive)
        while quiet < 2 and time.monotonic() < end:
            time.sleep(SETTLE_STEP_SECONDS)
            now = processes.core_seconds(alive)
            quiet = quiet + 1 if now - before < SETTLE_STEP_SECONDS / 4 else 0
            before = now

    def ask(self, file: bytes) -> tuple[int, list[float]]:
        """Return the label and probabilities of an image file.

        Raises:
            OSError: There is no answer, or none with success.
            ValueError: The answer has no label.
        """
        status, answer = self.post(self.path, self.form(file))
        if status != 200:
            raise OSError(f"{self.name} answers {status}: {answer[:200]!r}")
        return parse_answer(answer.decode())

    def post(self, target: str, body: Body) -> tuple[int, bytes]:
        """Send a body and return status and body of the answer. Raises OSError."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", target, body.data, body.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"{self.name}: {error!r}") from error
        finally:
            connection.close()

    def get(self, target: str) -> str:
        """Return the body of a GET. Raises OSError."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", target)
            return connection.getresponse().read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"{self.name}: {error!r}") from error
        finally:
            connection.close()


def parse_answer(text: str) -> tuple[int, list[float]]:
    """Return the first label and probabilities in an answer, however a protocol wraps them.

    Raises:
        ValueError: There are none.
    """
    in_tensor = r"(?:datatype[^}]*data\W+?)?"  # the open inference protocol's output
    label = re.search(rf"label\W+{in_tensor}\[?(\d)", text)
    numbers = re.search(rf"probabilities\W+{in_tensor}\[([^]\[]+)\]", text)
    if label is None or numbers is None:
        raise ValueError(f"No label and probabilities in {text[:200]!r}.")
    return int(label[1]), [float(number) for number in numbers[1].split(",")]


def step_seconds(metrics: str) -> dict[str, float]:
    """Return the seconds that the service has spent in each step, by its `/metrics`.

    They are by the clock: `queue` is waiting, and a step in a thread shares the cores with others.
    """
    found: dict[str, float] = {}
    for step, seconds in re.findall(
        r'^digits_step_duration_seconds_sum\{[^}]*step="(\w+)"[^}]*\} (\S+)', metrics, re.MULTILINE
    ):
        found[step] = found.get(step, 0.0) + float(seconds)
    return found


@contextlib.contextmanager
def running(
    name: str, command: list[str], file: bytes, *, environment: dict[str, str], **how: Any
) -> Iterator[Server]:
    """Start a server, wait for its first answer and let it sleep; stop it at the end.

    Args:
        name: The server's name.
        command: Starts it; it listens on the port in its environment's `PORT`.
        file: An image file for the first request.
        environment: Variables beside the port.
        how: Further fields of `Server`.

    Raises:
        OSError: It gives no answer; its log's end is in the message.
    """
    mark, port = uuid.uuid4().hex, free_port()
    ports = {"PORT": str(port), "DIGITS_PORT": str(port), processes.MARK: mark}
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=os.environ | environment | ports, stdout=log, stderr=log
        )
        server = Server(name, f"http://127.0.0.1:{port}", mark, **how)
        try:
            if not _answers(server, process, file):
                log.seek(0)
                tail = log.read().decode(errors="replace")[-LOG_TAIL:]
                raise OSError(f"{name} gives no answer. {tail}")
            seconds = time.perf_counter() - began
            processes.send(signal.SIGSTOP, server.processes)
            yield replace(server, first_answer_seconds=seconds)
        finally:
            _stop(server, process)


def _answers(server: Server, process: subprocess.Popen[bytes], file: bytes) -> bool:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            server.ask(file)
            return True
        time.sleep(0.01)
    return False


def _stop(server: Server, process: subprocess.Popen[bytes]) -> None:
    processes.send(signal.SIGCONT, server.processes)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    while alive := server.processes:  # supervisors start anew what is killed before them
        processes.send(signal.SIGKILL, alive)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def digits(
    models: Path, version: str, file: bytes, **environment: str
) -> contextlib.AbstractContextManager[Server]:
    """Start the service with its own defaults, on a version of the model."""
    settings = {"DIGITS_MODELS_DIR": str(models), "DIGITS_MODEL_VERSION": version}
    command = [sys.executable, "-m", "app"]
    return running("digits", command, file, environment=settings | environment)


def floor(file: bytes, workers: int) -> contextlib.AbstractContextManager[Server]:
    """Start uvicorn with a constant for an answer, in so many processes."""
    command = [sys.executable, "-m", "benchmarks.floors"]
    return running(
        "http-floor", command, file, environment={"WORKERS": str(workers)}, json_path=None
    )


def peer(chosen: Peer, model: Path, file: bytes) -> contextlib.AbstractContextManager[Server]:
    """Start a peer on a version's SavedModel, in the peer's own environment."""
    return running(
        chosen.name,
        [str(chosen.python.absolute()), "-m", f"benchmarks.peers.{chosen.name}"],
        file,
        environment={"MODEL": str(model.absolute()), **chosen.variables()},
        form=chosen.form,
        path=chosen.path,
        json_path=chosen.json_path,
    )


@dataclass(frozen=True, slots=True)
class Bare:
    """Bare TensorFlow with the model loaded, in a process of its own."""

    process: subprocess.Popen[str]
    loaded_seconds: float

    def megabytes(self) -> float:
        """Return its resident memory, MiB."""
        return processes.megabytes([self.process.pid])

    def measure(self, threads: int, batch: int, seconds: float) -> Figures:
        """Call the signature from so many threads and return its rate and cost."""
        assert self.process.stdin  # noqa: S101 -- pipes were asked for
        assert self.process.stdout  # noqa: S101
        print(threads, batch, seconds, file=self.process.stdin, flush=True)
        rate, core_us = map(float, self.process.stdout.readline().split())
        return {"images_per_second": rate, "core_us": core_us}


@contextlib.contextmanager
def bare(model: Path, images: NDArray[np.uint8]) -> Iterator[Bare]:
    """Start bare TensorFlow on a version's SavedModel; it computes batches of these images.

    Raises:
        OSError: TensorFlow does not load the model.
    """
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, images)
        file.flush()
        command = [sys.executable, "-m", "benchmarks.bare", str(model), file.name]
        began = time.perf_counter()
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout  # noqa: S101 -- a pipe was asked for
            if process.stdout.readline() != "loaded\n":
                raise OSError(f"TensorFlow does not load {model}.")
            yield Bare(process, time.perf_counter() - began)
            process.terminate()

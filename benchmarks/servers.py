"""The servers under test: started one after the other, asleep when it is not their turn."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks import bodies
from benchmarks.bodies import Body
from benchmarks.peers.catalog import Peer
from benchmarks.wrk import Figures

START_SECONDS = 120
WAKE_SECONDS = 0.3
"""Until all processes of one that slept have run again: the first would accept all connections."""
MARK = "DIGITS_BENCHMARK"
TOLERANCE = 1e-3
"""A probability may differ by so much: batches of other sizes sum in another order."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, its processes, and how it is asked."""

    name: str
    address: str
    mark: str
    form: Callable[[bytes], Body] = bodies.multipart
    path: str = "/predict"
    json_path: str | None = "/predict"
    first_answer_seconds: float = 0.0

    @property
    def url(self) -> str:
        return self.address + self.path

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        self.signal(signal.SIGCONT)
        time.sleep(WAKE_SECONDS)
        try:
            yield
        finally:
            self.signal(signal.SIGSTOP)

    def signal(self, number: signal.Signals) -> None:
        for process in processes(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def megabytes(self) -> float:
        return megabytes(processes(self.mark))

    def core_seconds(self) -> float:
        """What all its processes have computed so far."""
        return sum(map(_core_seconds, processes(self.mark)))

    def ask(self, file: bytes) -> tuple[int, list[float]]:
        """Label and probabilities of one image file."""
        body = self.form(file)
        answer = httpx.post(self.url, content=body.data, headers=body.headers, timeout=20)
        answer.raise_for_status()
        return parse_answer(answer.text)


def parse_answer(text: str) -> tuple[int, list[float]]:
    """The first label and probabilities in an answer, however a protocol wraps them."""
    label = re.search(r"label\W+(\d)", text)
    numbers = re.search(r"probabilities\W+\[([^]]*)\]", text)
    if label is None or numbers is None:
        raise ValueError(f"No label and probabilities in {text[:200]!r}.")
    return int(label[1]), [float(number) for number in numbers[1].split(",")]


def processes(mark: str) -> list[int]:
    """The processes that have the mark in their environment, as a server's descendants do even
    where they have become daemons."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{MARK}={mark}\0".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
    return found


def megabytes(of: list[int]) -> float:
    """Memory of these processes; what they share is counted once.

    Not the sum of their proportional shares: those would shrink with whatever else on the machine
    has the same libraries open.
    """
    private, shared = zip(*map(_kilobytes, of), strict=True)
    return float(sum(private) + max(shared)) / 1024


def _core_seconds(process: int) -> float:
    try:
        user, system = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    except OSError:  # gone meanwhile
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _kilobytes(process: int) -> tuple[int, int]:
    """Private and shared."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:  # gone meanwhile
        return 0, 0
    found = {k: int(v) for k, v in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    private = found.get("Private_Clean", 0) + found.get("Private_Dirty", 0)
    return private, found.get("Rss", 0) - private


@contextlib.contextmanager
def running(
    name: str, command: list[str], file: bytes, *, environment: dict[str, str], **how: Any
) -> Iterator[Server]:
    """A server that has given its first answer and sleeps. Raises OSError where there is none."""
    mark, port = uuid.uuid4().hex, _free_port()
    ports = {"PORT": str(port), "DIGITS_PORT": str(port), MARK: mark}
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=os.environ | environment | ports, stdout=log, stderr=log
        )
        server = Server(name, f"http://127.0.0.1:{port}", mark, **how)
        try:
            _await_answer(server, process, file)
            seconds = time.perf_counter() - began
            server.signal(signal.SIGSTOP)
            yield Server(name, server.address, mark, first_answer_seconds=seconds, **how)
        except OSError:
            log.seek(0)
            print(log.read().decode(errors="replace")[-2000:], file=sys.stderr)
            raise
        finally:
            _stop(server, process)


def _stop(server: Server, process: subprocess.Popen[bytes]) -> None:
    server.signal(signal.SIGCONT)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    while processes(server.mark):  # supervisors start anew what is killed before them
        server.signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _await_answer(server: Server, process: subprocess.Popen[bytes], file: bytes) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError, ValueError):
            server.ask(file)
            return
        time.sleep(0.01)
    raise OSError(f"{server.name} gives no answer.")


def digits(
    models: Path, version: str, file: bytes, **environment: str
) -> contextlib.AbstractContextManager[Server]:
    """The service, with its own defaults."""
    settings = {"DIGITS_MODELS_DIR": str(models), "DIGITS_MODEL_VERSION": version}
    command = [sys.executable, "-m", "app"]
    return running("digits", command, file, environment=settings | environment)


def floor(file: bytes) -> contextlib.AbstractContextManager[Server]:
    """The service's HTTP with a constant for an answer."""
    command = [sys.executable, "-m", "benchmarks.floors"]
    return running("HTTP floor", command, file, environment={})


@dataclass(frozen=True, slots=True)
class Bare:
    """Bare TensorFlow with the model loaded."""

    process: subprocess.Popen[str]
    loaded_seconds: float

    def megabytes(self) -> float:
        return megabytes([self.process.pid])

    def measure(self, threads: int, batch: int, seconds: float) -> Figures:
        assert self.process.stdin  # noqa: S101 -- pipes were asked for
        assert self.process.stdout  # noqa: S101
        print(threads, batch, seconds, file=self.process.stdin, flush=True)
        rate, core_ms = map(float, self.process.stdout.readline().split())
        return {"images_per_second": rate, "core_ms": core_ms}


@contextlib.contextmanager
def bare(model: Path, images: NDArray[np.uint8]) -> Iterator[Bare]:
    """It computes batches of these images."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, images)
        file.flush()
        yield from _bare([str(model), file.name])


def _bare(arguments: list[str]) -> Iterator[Bare]:
    command = [sys.executable, "-m", "benchmarks.bare", *arguments]
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout  # noqa: S101 -- a pipe was asked for
        if process.stdout.readline() != "loaded\n":
            raise OSError(f"TensorFlow does not load {arguments[0]}.")
        yield Bare(process, time.perf_counter() - began)
        process.terminate()


def peer(one: Peer, model: Path, file: bytes) -> contextlib.AbstractContextManager[Server]:
    return running(
        one.name,
        [str(one.python.absolute()), "-m", f"benchmarks.peers.{one.name}"],
        file,
        environment={"MODEL": str(model.absolute()), "TF_CPP_MIN_LOG_LEVEL": "3"},
        form=one.form,
        path=one.path,
        json_path=one.json_path,
    )


Answers = list[tuple[int, list[float]]]


def answers(server: Server, images: NDArray[np.uint8]) -> Answers:
    """For each image as it is, and then as a canvas."""
    files = [bodies.png(image) for image in (*images, *map(bodies.canvas, images))]
    return [server.ask(file) for file in files]


def disagreements(some: Answers, other: Answers) -> list[int]:
    """Where two servers name different digits, or differ in how sure they are of a 28×28 image.

    How sure they are of a canvas may differ: one resizes it, the other does more.
    """
    found = []
    for index, (one, two) in enumerate(zip(some, other, strict=True)):
        is_canvas = index >= len(some) // 2
        apart = max(abs(p - q) for p, q in zip(one[1], two[1], strict=True))
        if one[0] != two[0] or (apart > TOLERANCE and not is_canvas):
            found.append(index)
    return found

"""The Python client beside `wrk` with the same batches: `python -m benchmarks.client`.

A folder of files is streamed by `Client.predict_many` and by `AsyncClient.predict_many`, with their
defaults, and its batches are sent by `wrk` on as many connections. `wrk` has the requests in memory
and throws the answers away; the client reads files, makes bodies and parses answers. They take
turns, and the median of the rounds' ratios counts.

On the cores that the server computes on, what the client takes the server lacks. `--apart` shows it
as between two machines: the server has a core, and the driver another.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from app.inference.registry import version_to_serve
from benchmarks import digits, mix, servers, wrk
from benchmarks.bodies import Body
from benchmarks.servers import Server
from digits import AsyncClient, Client
from digits.client import BATCH_SIZE, IN_FLIGHT
from digits.images import batches, encode
from digits.results import Outcome

COUNTS = {"png-28": 4096, "canvas": 1024, "crop": 1024, "photo": 64}
"""Files in the folder, by their kind in `benchmarks.mix`."""


class Round(NamedTuple):
    """Images a second, and µs of a core an image that the driver and the server took."""

    rate: float
    driver_us: float
    server_us: float


Drive = Callable[[Sequence[Path], float], tuple[int, float]]
"""Have files predicted for so many seconds; return the images, and the driver's core seconds."""


@contextmanager
def drivers(server: Server) -> Iterator[dict[str, Drive]]:
    """The drivers by name; the clients keep their connections from round to round."""
    with (
        Client(server.address) as client,
        asyncio.Runner() as runner,
        closing_in(runner, AsyncClient(server.address)) as async_client,
    ):
        yield {
            "wrk": partial(by_wrk, server.url),
            "Client": partial(by_client, client),
            "AsyncClient": partial(by_async_client, runner, async_client),
        }


@contextmanager
def closing_in(runner: asyncio.Runner, client: AsyncClient) -> Iterator[AsyncClient]:
    """Close the client at the end, on its own event loop."""
    try:
        yield client
    finally:
        runner.run(client.close())


def by_wrk(url: str, files: Sequence[Path], seconds: float) -> tuple[int, float]:
    """Send the batches that the client makes of the files."""
    bodies = []
    for batch in batches(files, BATCH_SIZE):
        data, media_type = encode([item.content for item in batch if item.content])
        bodies.append(Body(data, {"content-type": media_type}))
    found = wrk.drive(url, bodies, connections=IN_FLIGHT, seconds=seconds)
    if found["failed"]:
        raise OSError(f"{found['failed']:.0f} requests of wrk failed.")
    images = found["requests"] * len(files) / len(bodies)
    return round(images), found["requests"] * found["driver_us"] / 1e6


def by_client(client: Client, files: Sequence[Path], seconds: float) -> tuple[int, float]:
    """Stream the files by `Client`."""
    before = time.process_time()
    images = sum(map(is_answered, client.predict_many(in_turn(files, seconds))))
    return images, time.process_time() - before


def by_async_client(
    runner: asyncio.Runner, client: AsyncClient, files: Sequence[Path], seconds: float
) -> tuple[int, float]:
    """Stream the files by `AsyncClient`."""

    async def stream() -> int:
        images = 0
        async for outcome in client.predict_many(in_turn(files, seconds)):
            images += is_answered(outcome)
        return images

    before = time.process_time()
    return runner.run(stream()), time.process_time() - before


def is_answered(outcome: Outcome) -> bool:
    """Return whether there is a prediction."""
    return outcome.prediction is not None


def in_turn(files: Sequence[Path], seconds: float) -> Iterator[Path]:
    """Yield the files, again and again, for so many seconds."""
    end = time.perf_counter() + seconds
    for file in cycle(files):
        if time.perf_counter() > end:
            return
        yield file


def measured(server: Server, drive: Drive, files: Sequence[Path], seconds: float) -> Round:
    """Drive the server once."""
    before, began = server.core_seconds(), time.perf_counter()
    images, driver = drive(files, seconds)
    passed, spent = time.perf_counter() - began, server.core_seconds() - before
    return Round(images / passed, 1e6 * driver / images, 1e6 * spent / images)


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Have this process, and those that it starts, run on a core; None: where they did."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def draw_files(folder: Path, kind: str, models: Path) -> list[Path]:
    """Write the pictures of a kind, each a file."""
    drawn = mix.draw(
        digits.held_back(models), kind, count=COUNTS[kind], rng=np.random.default_rng(1)
    )
    files = [folder / f"{number:04}" for number in range(len(drawn))]
    for file, picture in zip(files, drawn, strict=True):
        file.write_bytes(picture.file)
    return files


def show(kind: str, rounds: Sequence[dict[str, Round]]) -> None:
    """Print a row for each driver: medians of the rounds."""
    for name in rounds[0]:
        mine = [each[name] for each in rounds]
        ratio = median(each[name].rate / each["wrk"].rate for each in rounds)
        rate, driver_us, server_us = (median(figures) for figures in zip(*mine, strict=True))
        print(
            f"{kind:8} {name:12} {rate:8,.0f} images/s {ratio:6.2f} × wrk "
            f"{driver_us:7.1f} µs driver {server_us:8.1f} µs server"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models/digits"))
    parser.add_argument("--kinds", nargs="+", choices=COUNTS, default=[*COUNTS])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--apart", action="store_true", help="server and driver on a core each")
    options = parser.parse_args()
    settings = {"DIGITS_WORKERS": "1"} if options.apart else {}
    version = version_to_serve(options.models).name
    with tempfile.TemporaryDirectory() as folder:
        files = draw_files(Path(folder), options.kinds[0], options.models)
        with (
            pinned(0 if options.apart else None),
            servers.digits(options.models, version, files[0].read_bytes(), **settings) as server,
            server.awake(),
            pinned(1 if options.apart else None),
            drivers(server) as driven,
        ):
            for kind in options.kinds:
                files = draw_files(Path(folder), kind, options.models)
                rounds = [
                    {
                        name: measured(server, drive, files, seconds)
                        for name, drive in driven.items()
                    }
                    for seconds in [1, *[options.seconds] * options.rounds]
                ]
                show(kind, rounds[1:])  # the first has only warmed up


if __name__ == "__main__":
    main()

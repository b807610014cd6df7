"""`python -m benchmarks.overload --url URL`: twice as much as a service can do, for a minute.

First the peak: a closed loop, as many requests in flight as connections. Then an open loop at twice
the peak: a request leaves when its time has come, whether or not the others are answered. Goodput
is what was answered with 200, rightly; what was refused in time (503, 504) is no error, a wrong
answer or a broken connection is. Last, how long a lone request takes right after.

A request is a JSON batch, so that a driver in Python can send more than the service can take; it
takes its share of the same cores all the same, and what it says of times has its own delays in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import uvloop

IMAGES = 16
CONNECTIONS = 32
MAX_OPEN = 4000
PEAK_SECONDS = 10
CALM_REQUESTS = 20


def drawing(digit: int) -> list[list[int]]:
    """A digit in a plain font, 28×28, white on black."""
    image = np.zeros((28, 28), np.uint8)
    cv2.putText(image, str(digit), (5, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2, cv2.LINE_AA)
    rows: list[list[int]] = image.tolist()
    return rows


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """Sends the one request to the service, over connections that it keeps."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.host, self.port = address.hostname, address.port or 80
        body = json.dumps({"images": [drawing(i % 10) for i in range(IMAGES)]}).encode()
        self.request = (
            f"POST /predict?normalize=false HTTP/1.1\r\nhost: {address.netloc}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body
        self.idle: list[Connection] = []
        self.answers: list[bytes] = []  # judged in the end, or the judging would be the bottleneck

    async def ask(self) -> str:
        """`answered`, another status, or what broke."""
        try:
            reader, writer = await self.connection()
            writer.write(self.request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            return type(error).__name__
        self.idle.append((reader, writer))
        status = head.split(b" ", 2)[1].decode()
        if status != "200":
            return status
        self.answers.append(body)
        return "answered"

    async def connection(self) -> Connection:
        """One that is idle and that the service has not closed meanwhile, or else a new one."""
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof():
                return reader, writer
        return await asyncio.open_connection(self.host, self.port)

    def wrong(self) -> int:
        """How many answers so far differ from the first one."""
        return sum(not self.is_right(json.loads(body)) for body in self.answers)

    def is_right(self, answer: Any) -> bool:
        first_answer = json.loads(self.answers[0])
        return len(answer["predictions"]) == IMAGES and all(
            one["label"] == first["label"] and abs(one["confidence"] - first["confidence"]) < 1e-3
            for one, first in zip(answer["predictions"], first_answer["predictions"], strict=True)
        )


async def calm(client: Client) -> list[float]:
    """Seconds of lone requests, one after the other."""
    seconds = []
    for _ in range(CALM_REQUESTS):
        began = time.perf_counter()
        assert await client.ask() == "answered"  # noqa: S101 -- nothing else is to be had when idle
        seconds.append(time.perf_counter() - began)
    return seconds


async def peak(client: Client) -> float:
    """Requests a second in a closed loop."""
    end = time.perf_counter() + PEAK_SECONDS
    answered = 0

    async def loop() -> None:
        nonlocal answered
        while time.perf_counter() < end:
            outcome = await client.ask()
            answered += outcome == "answered"

    await asyncio.gather(*(loop() for _ in range(CONNECTIONS)))
    return answered / PEAK_SECONDS


async def overload(client: Client, rate: float, seconds: float) -> tuple[Counter[str], list[float]]:
    """An open loop: the outcomes, and the seconds that the refusals took."""
    outcomes: Counter[str] = Counter()
    refusals: list[float] = []
    open_now: set[asyncio.Task[None]] = set()

    async def one() -> None:
        began = time.perf_counter()
        outcome = await client.ask()
        outcomes[outcome] += 1
        if outcome == "503":
            refusals.append(time.perf_counter() - began)

    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0, start + number / rate - time.perf_counter()))
        if len(open_now) < MAX_OPEN:
            task = asyncio.create_task(one())
            open_now.add(task)
            task.add_done_callback(open_now.discard)
        else:
            outcomes["not sent"] += 1
    await asyncio.gather(*open_now)
    return outcomes, refusals


async def run(url: str, seconds: float) -> dict[str, Any]:
    client = Client(url)
    before = statistics.median(await calm(client))
    most = await peak(client)
    outcomes, refusals = await overload(client, 2 * most, seconds)
    ended = time.perf_counter()
    after = await calm(client)
    return {
        "peak_images_per_second": round(most * IMAGES),
        "offered_images_per_second": round(2 * most * IMAGES),
        "goodput_share_of_peak": round(outcomes["answered"] / seconds / most, 3),
        "outcomes": dict(outcomes),
        "wrong_answers": client.wrong(),
        "refusal_ms": [round(1000 * np.quantile(refusals or [0], q), 1) for q in (0.5, 0.99)],
        "lone_request_ms_before": round(1000 * before, 2),
        "lone_request_ms_after": round(1000 * statistics.median(after), 2),
        "seconds_from_the_end_to_the_last_of_these": round(time.perf_counter() - ended, 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    print(json.dumps(uvloop.run(run(arguments.url, arguments.seconds)), indent=2))

"""`python -m benchmarks`: the service against its two floors, in one run.

Servers start once and take turns, round after round; the median of the rounds counts. Absolute
figures depend on the machine and on who else uses it, the ratios much less. Wants `wrk`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from app.settings import available_cores
from app.versions import newest
from benchmarks import bodies
from benchmarks.bodies import Body

START_SECONDS = 120
LUA = """
local file = io.open("{path}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["content-type"] = "{content_type}"
"""


@contextlib.contextmanager
def server(*command: str, **environment: str) -> Iterator[str]:
    """A server process of ours; gives its address once it answers `/healthz`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=os.environ | environment | {"DIGITS_PORT": str(port)},
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _await_health(address, process)
        yield address
    finally:
        process.terminate()
        process.wait()


def _await_health(address: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{address}/healthz").raise_for_status()
            return
        time.sleep(0.2)
    raise SystemExit(f"No server at {address}.")


def drive(address: str, body: Body, *, connections: int, seconds: int) -> dict[str, float]:
    """Closed-loop load by wrk: requests a second, and latency in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        data, script = Path(folder, "body"), Path(folder, "post.lua")
        data.write_bytes(body.data)
        script.write_text(LUA.format(path=data, content_type=body.content_type))
        said = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", f"-s{script}",
             f"{address}/predict"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{body.name}: not every answer was 200.\n{said}")
    return {
        "requests_per_second": float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0]),
        **{f"p{q}_ms": _milliseconds(said, q) for q in (50, 99)},
    }


def _milliseconds(said: str, percentile: int) -> float:
    number, unit = re.findall(rf"\s{percentile}%\s+([\d.]+)(us|ms|s)", said)[0]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def compute(model: Path, seconds: int, batch: int) -> float:
    """The compute floor, in a process of its own: images a second on all cores."""
    command = ["compute", str(model), str(available_cores()), str(batch), str(seconds)]
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.floors", *command],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return float(said)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models/digits"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--json", type=Path, help="write every figure here")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("The benchmarks drive with wrk: apt-get install wrk.")
    model = newest(options.models)
    rounds: list[dict[str, Any]] = []
    with (
        server("app", DIGITS_MODELS_DIR=str(options.models)) as digits,
        server("benchmarks.floors", "http") as floor,
    ):
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", flush=True)
            figures: dict[str, Any] = {}
            for body in bodies.make(model):
                for connections in options.connections:
                    for name, address in (("digits", digits), ("http floor", floor)):
                        figures[f"{name}, {body.name}, {connections}"] = drive(
                            address, body, connections=connections, seconds=options.seconds
                        )
            for batch in (1, 16, 64):
                figures[f"compute floor, {batch}"] = {
                    "images_per_second": compute(model, options.seconds, batch)
                }
            rounds.append(figures)
    medians = {
        case: {
            figure: statistics.median(one[case][figure] for one in rounds)
            for figure in rounds[0][case]
        }
        for case in rounds[0]
    }
    report(medians, options.connections)
    if options.json:
        options.json.write_text(json.dumps({"medians": medians, "rounds": rounds}, indent=1))


def report(medians: dict[str, dict[str, float]], connections: list[int]) -> None:
    """The medians, and how near the service comes to what the two floors allow together."""
    for case, figures in medians.items():
        shown = "  ".join(f"{name} {value:,.2f}" for name, value in figures.items())
        print(f"{case:32} {shown}")
    best = max(v["images_per_second"] for k, v in medians.items() if k.startswith("compute"))
    cores = available_cores()
    most = max(connections)
    for name, images in (("png-28", 1), ("canvas-280", 1), ("json-64", 64)):
        mine = medians[f"digits, {name}, {most}"]["requests_per_second"]
        # The HTTP floor is one process on one core, the compute floor has all of them.
        http = medians[f"http floor, {name}, {most}"]["requests_per_second"]
        allowed = cores / (1 / http + images * cores / best)
        print(f"{name}: {mine / allowed:.2f} of what the floors allow ({allowed:,.0f}/s)")


if __name__ == "__main__":
    main()

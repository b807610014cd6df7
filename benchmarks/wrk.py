"""Closed-loop load by `wrk`: every connection has a request in flight at all times.

`wrk` is a driver in C and takes the least of the cores that it shares with the server; Debian has
it as a package (`apt-get install wrk`). A Lua script hands it whole requests, one after the other.
"""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.bodies import Body

Figures = dict[str, float]

SCRIPT = """
local requests, last = {{}}, 0
init = function()
   for number = 1, {count} do
      local file = io.open("{folder}/" .. number, "rb")
      requests[number] = file:read("*a")
      file:close()
   end
end
request = function()
   last = last % {count} + 1
   return requests[last]
end
"""
TIMEOUT_SECONDS = 30
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


def require() -> None:
    """Exit with the way to install `wrk` where there is none."""
    if shutil.which("wrk") is None:
        raise SystemExit("The benchmarks drive with wrk: apt-get install wrk (Debian, Ubuntu).")


def drive(url: str, bodies: Sequence[Body], *, connections: int, seconds: float) -> Figures:
    """Post the bodies in turn for whole seconds and return what `wrk` measured.

    Returns:
        `requests_per_second` (answered with success), `requests` (the same, all in all), `p50_ms`,
        `p99_ms`, `failed` (other answers and broken connections), `driver_us` (µs of a core that
        the driver took for a request).

    Raises:
        OSError: `wrk` failed or did not end.
        ValueError: Its output lacks a figure.
    """
    address = urlsplit(url)
    target = f"{address.path or '/'}?{address.query}".removesuffix("?")
    with tempfile.TemporaryDirectory() as folder:
        for number, body in enumerate(bodies, 1):
            Path(folder, str(number)).write_bytes(body.request(address.netloc, target))
        script = Path(folder, "post.lua")
        script.write_text(SCRIPT.format(folder=folder, count=len(bodies)))
        spent = -_core_seconds_of_children()
        output = _run(script, url, connections=connections, seconds=max(1, round(seconds)))
        spent += _core_seconds_of_children()
    figures = parse(output)
    return figures | {"driver_us": 1e6 * spent / max(1.0, figures["requests"])}


def _run(script: Path, url: str, *, connections: int, seconds: int) -> str:
    command = [
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={TIMEOUT_SECONDS}s",
        "--latency", f"-s{script}", url,
    ]  # fmt: skip
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=seconds + TIMEOUT_SECONDS
        ).stdout
    except subprocess.SubprocessError as error:
        raise OSError(f"wrk at {url}: {error}") from error


def _core_seconds_of_children() -> float:
    """Return the CPU time of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def parse(output: str) -> Figures:
    """Return the figures in what `wrk` prints. Raises ValueError where one is missing."""
    requests, seconds, unit = _find(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", output)
    refused = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", output)))
    broken = sum(
        int(number)
        for errors in re.findall(r"Socket errors: (.*)", output)
        for number in re.findall(r"\d+", errors)
    )
    succeeded = int(requests) - refused
    return {
        "requests_per_second": 1000 * succeeded / (float(seconds) * UNITS[unit]),
        "requests": float(succeeded),
        "p50_ms": _milliseconds(output, 50),
        "p99_ms": _milliseconds(output, 99),
        "failed": float(refused + broken),
    }


def _milliseconds(output: str, percentile: int) -> float:
    number, unit = _find(rf"\s{percentile}%\s+([\d.]+)(us|ms|s|m)\b", output)
    return float(number) * UNITS[unit]


def _find(pattern: str, output: str) -> tuple[str, ...]:
    match = re.search(pattern, output)
    if match is None:
        raise ValueError(f"wrk did not print {pattern!r}:\n{output}")
    return match.groups()

"""Closed-loop load by `wrk`: so many connections, each with one request in flight at all times."""

from __future__ import annotations

import re
import resource
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bodies import Body

Figures = dict[str, float]

SCRIPT = """
wrk.method = "POST"
{headers}
local requests, last = {{}}, 0
init = function()
   for number = 1, {count} do
      local file = io.open("{folder}/" .. number, "rb")
      requests[number] = wrk.format(nil, nil, nil, file:read("*a"))
      file:close()
   end
end
request = function()
   last = last % {count} + 1
   return requests[last]
end
"""
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


def drive(url: str, sent: Sequence[Body], *, connections: int, seconds: int) -> Figures:
    """Requests a second, median and 99th percentile in milliseconds, how many failed, and how long
    the driver itself kept a core for each. The bodies are sent in turn; they have their headers in
    common.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "post.lua")
        for number, body in enumerate(sent, 1):
            Path(folder, str(number)).write_bytes(body.data)
        headers = "\n".join(f'wrk.headers["{k}"] = "{v}"' for k, v in sent[0].headers.items())
        script.write_text(SCRIPT.format(folder=folder, headers=headers, count=len(sent)))
        spent = -_core_seconds_of_children()
        said = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=20s", "--latency",
             f"-s{script}", url],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        spent += _core_seconds_of_children()
    figures = parse(said)
    requests = max(1.0, figures["requests_per_second"] * seconds)
    return figures | {"driver_ms": 1000 * spent / requests}


def _core_seconds_of_children() -> float:
    """Of those that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def parse(said: str) -> Figures:
    """The figures in what wrk prints. Raises ValueError where they are not in it."""
    return {
        "requests_per_second": float(_found(r"Requests/sec:\s+([\d.]+)", said)[0]),
        "p50_ms": _milliseconds(said, 50),
        "p99_ms": _milliseconds(said, 99),
        "failed": _failed(said),
    }


def _failed(said: str) -> float:
    """Answers that were no success, and errors of connections."""
    numbers = re.findall(r"Non-2xx or 3xx responses: (\d+)", said)
    for errors in re.findall(r"Socket errors: (.*)", said):
        numbers += re.findall(r"\d+", errors)
    return float(sum(map(int, numbers)))


def _milliseconds(said: str, percentile: int) -> float:
    number, unit = _found(rf"\s{percentile}%\s+([\d.]+)(us|ms|s|m)\b", said)
    return float(number) * UNITS[unit]


def _found(pattern: str, said: str) -> tuple[str, ...]:
    match = re.search(pattern, said)
    if match is None:
        raise ValueError(f"wrk did not say {pattern!r}:\n{said}")
    return match.groups()

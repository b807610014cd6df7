"""How long requests wait before n replicas: `python -m benchmarks.scaling`.

A simulation, not a measurement: replicas of one core, each a queue in order of arrival, behind a
balancer that sends a request to the one with the least to do; arrivals by chance (Poisson), and
service times spread as widely (exponential) about the processor time of a request of the mix.
"""

from __future__ import annotations

import heapq
import random

import numpy as np
from numpy.typing import NDArray

REQUESTS = 200_000
MIX_SECONDS = 2488e-6
"""Processor time of a request of the mix: docs/benchmark.md."""


def waits(replicas: int, load: float, seconds: float, seed: int = 1) -> NDArray[np.float64]:
    """Return the seconds from arrival to answer of each request, at `load` of the capacity."""
    chance = random.Random(seed)
    free_at = [0.0] * replicas
    now = 0.0
    answers = np.empty(REQUESTS)
    for index in range(REQUESTS):
        now += chance.expovariate(load * replicas / seconds)
        done = max(now, free_at[0]) + chance.expovariate(1 / seconds)
        heapq.heapreplace(free_at, done)
        answers[index] = done - now
    return answers


def main() -> None:
    """Print a line for each number of replicas."""
    print("replicas  requests/s at 70%, p50, p99   at 90%, p50, p99")
    for replicas in (1, 2, 4, 8, 16):
        line = f"{replicas:8}"
        for load in (0.7, 0.9):
            p50, p99 = 1000 * np.percentile(waits(replicas, load, MIX_SECONDS), (50, 99))
            line += f"  {load * replicas / MIX_SECONDS:8,.0f} {p50:6.1f} ms {p99:6.1f} ms"
        print(line)


if __name__ == "__main__":
    main()

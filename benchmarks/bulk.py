"""`digits bulk` beside the bare predictor: `python -m benchmarks.bulk`.

The bare predictor runs in a process a core, too, over pictures that are in memory already, and
writes nothing. Loading the model is left out on both sides: of the job, the time for a tenth of the
pictures is taken off that for all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.settings import available_cores
from digits import bulk
from digits.images import Content
from digits.local import LocalReader

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
BARE_SECONDS = 10.0


def pictures(count: int) -> list[bytes]:
    """The pictures of the documentation, again and again."""
    files = [path.read_bytes() for path in sorted(EXAMPLES.iterdir()) if path.suffix == ".png"]
    return [files[index % len(files)] for index in range(count)]


def bare(start: float) -> tuple[float, float]:
    """Return images a second, and processor seconds an image, from `start` (`time.time()`) on."""
    with LocalReader() as reader:
        contents = [Content(each) for each in pictures(bulk.CALL_IMAGES)]
        reader.predict_raw(contents)
        time.sleep(max(0.0, start - time.time()))
        began, processor_began = time.perf_counter(), time.process_time()
        calls = 0
        while time.perf_counter() - began < BARE_SECONDS:
            reader.predict_raw(contents)
            calls += 1
        images = calls * len(contents)
        rate = images / (time.perf_counter() - began)
        return rate, (time.process_time() - processor_began) / images


def processor_seconds() -> float:
    """Return the processor time of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def job_seconds(count: int, processes: int) -> tuple[float, float]:
    """Return how long the job takes, and its processor time; the start of its processes, too."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.parquet"
        pq.write_table(pa.table({"image": pictures(count)}), source)
        began, processor_began = time.perf_counter(), processor_seconds()
        bulk.run(bulk.Input(source, "image"), Path(folder) / "out", processes=processes)
        return time.perf_counter() - began, processor_seconds() - processor_began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=available_cores())
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, spawn) as pool:
        loops = list(pool.map(bare, [time.time() + 15] * options.processes))
    few = options.images // 10
    (seconds, processor), (few_seconds, few_processor) = (
        job_seconds(count, options.processes) for count in (options.images, few)
    )
    images = options.images - few
    rates = sum(rate for rate, _ in loops), images / (seconds - few_seconds)
    costs = sum(cost for _, cost in loops) / len(loops), (processor - few_processor) / images
    for name, rate, cost in zip(("bare predictor", "digits bulk"), rates, costs, strict=True):
        print(f"{name}, {options.processes} processes: {rate:,.0f} images/s, {1e6 * cost:.0f} µs")
    print(f"share: {rates[1] / rates[0]:.2f}; by processor time: {costs[0] / costs[1]:.2f}")


if __name__ == "__main__":
    main()

"""`python -m benchmarks.soak --minutes 20`: good and bad traffic mixed, and the memory after it.

A service on a copy of a model folder gets the cases of `tests/faults` among good requests, from
several clients; every ten seconds its memory, threads and open files are written down. With
`--swaps 100` the version is swapped that often meanwhile, evenly spread. The slope of the memory is
fitted over the second half, when the allocator has all that it keeps.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from app.inference.loading import load
from app.inference.registry import version_to_serve
from tests.faults import test_images, test_json, test_transport
from tests.faults.server import Server, request, serving, wait_until

CLIENTS = 4
SAMPLE_SECONDS = 10
KEPT_VERSIONS = 2
CALLS = 300
SEED = 5
HELD = ("body_bytes", "working_bytes", "waiting_images")
"""Gauges that are zero when nothing is left of the traffic."""

MAX_PIXELS = 300_000


def traffic() -> list[tuple[str, list[bytes]]]:
    """Return requests by name, as segments; good and bad in about equal parts."""
    cases: list[Any] = [*test_images.REFUSED, *test_images.SAME, *test_images.READ]
    bodies = [(case[0], case[1](), "image/png") for case in cases]
    kinds = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
    bodies += [(kind, test_images.seven(kind, "RGB"), "image/png") for kind in kinds] * 20
    bodies += [(case[0], case[1], "application/json") for case in test_json.CASES]
    bodies += [(case[0], *case[1]()) for case in test_transport.FORM_FAULTS]
    noise = np.random.default_rng(SEED).integers(0, 256, (64, 28, 28))
    bodies += [("64 arrays", test_json.as_json(noise.tolist()), "application/json")] * 20
    requests = [
        (name, [request("POST", "/predict", {"content-type": kind}, body)])
        for name, body, kind in bodies
    ]
    return requests + [(case[0], case[1]) for case in test_transport.HTTP_FAULTS]


def send(server: Server, until: float, seed: int, outcomes: Counter[str]) -> None:
    """Send random requests, one after the other; some clients leave before their answer."""
    chance = random.Random(seed)
    requests = traffic()
    while time.monotonic() < until:
        name, segments = chance.choice(requests)
        if chance.random() < 0.02:
            with suppress(ConnectionError), server.connect() as gone:
                gone.sendall(segments[0][: len(segments[0]) // 2])
            outcomes["gone"] += 1
            continue
        try:
            outcomes[str(server.exchange(*segments).status)] += 1
        except (OSError, ValueError) as error:
            outcomes[f"{type(error).__name__}: {name}"] += 1


def swap(models: Path, origin: Path, server: Server, number: int) -> None:
    """Swap the server to a copy of the model under the next number; drop the oldest."""
    shutil.copytree(origin, models.parent / "next")
    (models.parent / "next").rename(models / str(number))
    wait_until(lambda: server.live_version == str(number))
    with suppress(FileNotFoundError):
        shutil.rmtree(models / str(number - KEPT_VERSIONS))


def functions(folder: Path) -> list[int]:
    """Return the number of TensorFlow functions after the load, and after batches of every size.

    They are as many: a loaded signature is one concrete function and never traces.
    """
    from tensorflow.python.eager.context import context  # noqa: PLC0415 -- takes seconds

    classifier = load(folder)
    known = [len(context().list_function_names())]
    for size in range(1, CALLS + 1):
        classifier(np.zeros((size, 28, 28), np.uint8))
    return [*known, len(context().list_function_names())]


def run(models_dir: Path, seconds: float, swaps: int) -> dict[str, Any]:
    """Serve under the traffic for so many seconds and return what is left behind."""
    origin = version_to_serve(models_dir)
    outcomes: Counter[str] = Counter()
    samples: list[dict[str, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        shutil.copytree(origin, models / "1")
        settings = {"reload_seconds": 0.5, "header_seconds": 5, "max_pixels": MAX_PIXELS}
        with serving(models, Path(folder) / "log", **settings) as server:
            began = time.monotonic()
            clients = [
                threading.Thread(target=send, args=(server, began + seconds, SEED + i, outcomes))
                for i in range(CLIENTS)
            ]
            for client in clients:
                client.start()
            done = 0
            while (passed := time.monotonic() - began) < seconds:
                if done < swaps * passed / seconds:
                    done += 1
                    swap(models, origin, server, done + 1)
                if passed >= len(samples) * SAMPLE_SECONDS:
                    samples.append(server.resources())
                    print(round(passed), done, samples[-1], flush=True)
                time.sleep(0.1)
            for client in clients:
                client.join()
            held = {name: server.metric(f"digits_{name}") for name in HELD}
            healthy = server.get("/healthz").json["status"]
            tracebacks = server.log.count("Traceback")
    half = [sample["bytes"] / 2**20 for sample in samples[len(samples) // 2 :]]
    slope = np.polyfit(np.arange(len(half)) * SAMPLE_SECONDS / 60, half, 1)[0] if half[1:] else 0
    return {
        "minutes": round(seconds / 60, 1),
        "swaps": done,
        "outcomes": dict(sorted(outcomes.items())),
        "megabytes": [round(samples[i]["bytes"] / 2**20) for i in (0, len(samples) // 2, -1)],
        "megabytes_per_minute_in_the_second_half": round(float(slope), 2),
        "threads": [samples[0]["threads"], samples[-1]["threads"]],
        "files": [samples[0]["files"], samples[-1]["files"]],
        "still_held": held,
        "functions_after_load_and_after_calls": functions(origin),
        "tracebacks": tracebacks,
        "health": healthy,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models/digits"))
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--swaps", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.models, arguments.minutes * 60, arguments.swaps), indent=2))

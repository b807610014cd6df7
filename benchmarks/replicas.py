"""One replica, and two behind HAProxy: `python -m benchmarks.replicas`.

A replica is one worker process on a core of its own. The load is of 32 connections in a closed
loop. HAProxy, with the file that ships, and the driver have the machine's other cores where one
replica is asked, and share all cores where two are: on two cores the throughputs don't compare by
themselves. The processor time that a request takes of replicas, balancer and driver stands beside
them, and says what two would answer if the others were elsewhere.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.inference.registry import version_to_serve
from benchmarks import bodies, digits, mix, processes, servers, wrk
from benchmarks.bodies import Body
from benchmarks.servers import Server

CONFIG = Path(__file__).parent.parent / "deploy" / "balancer" / "haproxy.cfg"
CONNECTIONS = 32
START_SECONDS = 10.0


@contextlib.contextmanager
def balancing(replicas: Sequence[Server]) -> Iterator[tuple[Server, int]]:
    """HAProxy before the replicas, and its process.

    Raises:
        OSError: it does not answer.
    """
    port = servers.free_port()
    listed = "".join(
        f"    server replica{place} 127.0.0.1:{replica.port} check\n"
        for place, replica in enumerate(replicas)
    )
    text = re.sub(r"    server-template .*\n", listed, CONFIG.read_text())
    text = text.replace("bind :8000", f"bind 127.0.0.1:{port}")
    text = text.replace("bind :8405", f"bind 127.0.0.1:{servers.free_port()}")
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
        file.write(text)
        file.flush()
        process = subprocess.Popen(["haproxy", "-db", "-f", file.name], stdout=subprocess.DEVNULL)
        try:
            balancer = Server("balancer", f"http://127.0.0.1:{port}", mark="")
            wait_until_ready(balancer)
            yield balancer, process.pid
        finally:
            process.terminate()
            process.wait(10)


def wait_until_ready(balancer: Server) -> None:
    """Wait until HAProxy listens and has found a replica. Raises OSError where it does not."""
    end = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError):
            if '"ready":true' in balancer.get("/v2/health/ready"):
                return
        if time.monotonic() > end:
            raise OSError("HAProxy finds no replica that is ready.")
        time.sleep(0.1)


def measure(replicas: Sequence[Server], load: Sequence[Body], seconds: float) -> str:
    """Drive the replicas; a line with their throughput and what a request took of whom."""
    with contextlib.ExitStack() as stack:
        for replica in replicas:
            stack.enter_context(replica.awake())
        balancer, process = stack.enter_context(balancing(replicas))
        wrk.drive(balancer.url, load, connections=CONNECTIONS, seconds=1)

        def spent() -> tuple[float, float]:
            of_replicas = sum(replica.core_seconds() for replica in replicas)
            return of_replicas, processes.core_seconds([process])

        before, began = spent(), time.perf_counter()
        found = wrk.drive(balancer.url, load, connections=CONNECTIONS, seconds=seconds)
        passed = time.perf_counter() - began
        used = [after - start for after, start in zip(spent(), before, strict=True)]
    costs = [1e6 * each / found["requests"] for each in used]
    return (
        f"{len(replicas):8} {found['requests_per_second']:9,.0f}/s {found['p50_ms']:7.1f} ms "
        f"{found['p99_ms']:7.1f} ms {costs[0]:10,.0f} µs {costs[1]:9,.0f} µs "
        f"{found['driver_us']:6,.0f} µs {used[0] / passed / len(replicas):7.0%} "
        f"{found['failed']:6.0f}"
    )


def main() -> None:
    """Measure and print a line for each number of replicas, of each kind of picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models/digits"))
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    wrk.require()
    folder = version_to_serve(options.models)
    held_back = digits.held_back(options.models)
    kinds = {
        "mix": [bodies.multipart(each.file) for each in mix.draw_mix(held_back, blocks=4, seed=1)],
        "28×28 PNG": [bodies.raw(mix.encode(image, ".png")) for image in held_back.images[:64]],
    }
    cores = sorted(os.sched_getaffinity(0))
    settings = {
        "DIGITS_WORKERS": "1",
        "DIGITS_MODELS_DIR": str(options.models),
        "DIGITS_MODEL_VERSION": folder.name,
    }
    file = mix.encode(held_back.images[0], ".png")
    with contextlib.ExitStack() as stack:
        replicas = [
            stack.enter_context(
                servers.running(
                    f"replica {core}",
                    ["taskset", "-c", str(core), sys.executable, "-m", "app"],
                    file,
                    environment=settings,
                )
            )
            for core in cores[:2]
        ]
        for kind, load in kinds.items():
            print(
                f"{kind}\nreplicas throughput        p50        p99       replica  balancer    "
                "driver    busy failed"
            )
            os.sched_setaffinity(0, cores[1:])
            print(measure(replicas[:1], load, options.seconds))
            os.sched_setaffinity(0, cores)
            print(measure(replicas, load, options.seconds))


if __name__ == "__main__":
    main()

"""What tensors cost: `python -m benchmarks.tensors`, in processor time of the service's one worker.

The same pixels by each way in: one image, and 1,024 in a request. Beside them stand the bare
signature and the bare programs that the service has chosen, called with the same 1,024. Processor
time is the service's own whatever else the machine does; the cases take turns, and the least of the
rounds counts.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as messages

from app.inference.loading import load
from app.inference.registry import version_to_serve
from benchmarks import bodies, digits, mix, servers
from benchmarks.bodies import Body
from benchmarks.servers import Server

MANY = 1024
SMALL, LARGE = "one image", f"{MANY:,} images"
OUTPUTS = ("label", "probabilities")
METHOD = "/inference.GRPCInferenceService/ModelInfer"
REQUESTS = {SMALL: 2000, LARGE: 20}
"""Requests of a round, enough for hundreds of the clock's ticks of 10 ms."""
BARE_SECONDS = 3.0

Images = NDArray[np.uint8]
Ask = Callable[[], object]


def binary(images: Images) -> Body:
    """The Open Inference Protocol by HTTP, tensors as bytes both ways."""
    size = {"binary_data_size": images.nbytes}
    tensor = {"name": "images", "datatype": "UINT8", "shape": images.shape, "parameters": size}
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in OUTPUTS]
    text = json.dumps({"inputs": [tensor], "outputs": wanted}).encode()
    return Body(text + images.tobytes(), {"inference-header-content-length": str(len(text))})


def message(images: Images) -> bytes:
    """The same by gRPC."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": images.shape}
    request = messages.ModelInferRequest(
        model_name="digits",
        inputs=[tensor],
        outputs=[{"name": name} for name in OUTPUTS],
        raw_input_contents=[images.tobytes()],
    )
    content: bytes = request.SerializeToString()
    return content


def post(connection: http.client.HTTPConnection, target: str, body: Body) -> None:
    """Send a body on a connection that is kept, and read the answer."""
    connection.request("POST", target, body.data, body.headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise OSError(f"{target} answers {answer.status}: {text[:200]!r}")


@contextmanager
def asked(server: Server, grpc_port: int, images: Images) -> Iterator[dict[str, dict[str, Ask]]]:
    """How to ask for one image and for many, by name, on connections that are kept."""
    infer = "/v2/models/digits/infer"
    with ExitStack() as stack:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        stack.callback(connection.close)
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{grpc_port}"))
        call = channel.unary_unary(METHOD)
        send = partial(post, connection)
        one = images[:1]
        yield {
            SMALL: {
                "/predict, JSON": partial(send, "/predict", bodies.arrays(one, 1)),
                "/predict, PNG": partial(send, "/predict", bodies.raw(mix.encode(one[0], ".png"))),
                "OIP binary": partial(send, infer, binary(one)),
                "OIP gRPC": partial(call, message(one)),
            },
            LARGE: {
                "OIP binary": partial(send, infer, binary(images)),
                "OIP binary, normalize=false": partial(
                    send, f"{infer}?normalize=false", binary(images)
                ),
                "OIP gRPC": partial(call, message(images)),
            },
        }


def measured(server: Server, ask: Ask, count: int) -> tuple[float, float]:
    """Processor microseconds of the server, and by the clock of the client, for a request."""
    before, began = server.core_seconds(), time.perf_counter()
    for _ in range(count):
        ask()
    passed = time.perf_counter() - began
    return 1e6 * (server.core_seconds() - before) / count, 1e6 * passed / count


def bare_programs(folder: Path, images: Images) -> float:
    """Processor microseconds in which the chosen programs classify all images."""
    classifier = load(folder)
    classifier(images)
    began, calls = time.process_time(), 0
    while time.process_time() - began < BARE_SECONDS:
        classifier(images)
        calls += 1
    return 1e6 * (time.process_time() - began) / calls


def show(title: str, costs: Mapping[str, tuple[float, float]], images: int) -> None:
    """Print a row for each case: processor time, the first's share of it, and by the clock."""
    first = next(iter(costs.values()))[0]
    print(f"{title:30} {'processor':>12} {'an image':>10} {'first ÷ it':>11} {'clock':>10}")
    for name, (cost, clock) in costs.items():
        share = f"{first / cost:.2f}"
        by_clock = f"{clock:,.0f} µs" if clock else ""
        print(f"{name:30} {cost:9,.0f} µs {cost / images:7.1f} µs {share:>11} {by_clock:>10}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models/digits"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = version_to_serve(options.models)
    images = np.resize(digits.held_back(options.models).images, (MANY, 28, 28))
    file = mix.encode(images[0], ".png")
    port = servers.free_port()
    settings = {"DIGITS_WORKERS": "1", "DIGITS_GRPC_PORT": str(port)}
    costs: dict[str, dict[str, tuple[float, float]]] = {SMALL: {}, LARGE: {}}
    with (
        servers.digits(options.models, folder.name, file, **settings) as server,
        server.awake(),
        asked(server, port, images) as cases,
    ):
        for _ in range(options.rounds):
            for size, ways in cases.items():
                for name, ask in ways.items():
                    found = measured(server, ask, REQUESTS[size])
                    costs[size][name] = min(found, costs[size].get(name, found))
    with servers.bare(folder, images) as bare:
        signature = bare.measure(1, MANY, BARE_SECONDS)["core_us"] * MANY
    bare_costs = {
        "bare signature": (signature, 0.0),
        "bare programs": (bare_programs(folder, images), 0.0),
    }
    show(SMALL, costs[SMALL], 1)
    show(LARGE, bare_costs | costs[LARGE], MANY)
    for name, (cost, _) in bare_costs.items():
        ratios = [f"{way} {cost / found:.2f}" for way, (found, _) in costs[LARGE].items()]
        print(f"{name} ÷ service: {'; '.join(ratios)}")


if __name__ == "__main__":
    main()

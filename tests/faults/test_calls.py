"""gRPC calls that are bad, too many, too late, or made while the process ends.

Messages are those of `tritonclient`: the service's own have the same names, which a process can
have once.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as messages

from app import startup
from app.startup import StartupError, read_settings
from tests.conftest import ROOT, png, spoken
from tests.faults.conftest import Gate, gated
from tests.faults.server import ECHO, Server, free_port, serving, start, wait_until

SERVICE = "/inference.GRPCInferenceService"
ROUTE = f'method="POST",route="{SERVICE}/ModelInfer"'
COUNT = "digits_http_request_duration_seconds_count"
LIMIT = 2 * 2**20
SETTINGS = {
    "grpc_port": free_port(),
    "max_images": 8,
    "max_body_bytes": LIMIT,
    "body_seconds": 2,
}
CALL_SECONDS = 60

Call = Callable[..., bytes]


def method(server: Server, name: str = "ModelInfer") -> Iterator[Call]:
    """Sends bytes to a method, and returns those of its answer."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(f"{SERVICE}/{name}")
        yield lambda message, **options: call(message, **{"timeout": CALL_SECONDS, **options})


@pytest.fixture
def infer(server: Server) -> Iterator[Call]:
    yield from method(server)


def message(*images: Any, **others: Any) -> Any:
    """A request with images as bytes, as they are."""
    shape = [len(images), 28, 28]
    return messages.ModelInferRequest(
        model_name="digits",
        inputs=[{"name": "images", "datatype": "UINT8", "shape": shape}],
        parameters={"normalize": {"bool_param": False}},
        raw_input_contents=[np.array(images, np.uint8).tobytes()],
        **others,
    )


def files(*contents: bytes, **others: Any) -> Any:
    one = {
        "name": "image_bytes",
        "datatype": "BYTES",
        "shape": [len(contents)],
        "contents": {"bytes_contents": contents},
    }
    return messages.ModelInferRequest(model_name="digits", inputs=[one], **others)


def typed(datatype: str = "UINT8", count: int = 1, **contents: Any) -> Any:
    one = {
        "name": "images",
        "datatype": datatype,
        "shape": [count, 28, 28],
        "contents": contents,
    }
    return messages.ModelInferRequest(model_name="digits", inputs=[one])


def altered(request: Any, **fields: Any) -> Any:
    """A request whose input says something else of itself."""
    for name, value in fields.items():
        if isinstance(value, list):
            del getattr(request.inputs[0], name)[:]
            getattr(request.inputs[0], name).extend(value)
        else:
            setattr(request.inputs[0], name, value)
    return request


def labels(answer: bytes) -> list[int]:
    """Of an answer in either form, all of whose outputs are in the same."""
    response = messages.ModelInferResponse.FromString(answer)
    if response.raw_output_contents:
        return [int(label) for label in np.frombuffer(response.raw_output_contents[0], "<i8")]
    return [*response.outputs[0].contents.int64_contents]


def refusal(call: Call, request: Any, **options: Any) -> tuple[str, str]:
    content = request if isinstance(request, bytes) else request.SerializeToString()
    with pytest.raises(grpc.RpcError) as raised:
        call(content, **options)
    return raised.value.code().name, raised.value.details()


def test_tensors_come_as_bytes_or_as_lists_and_go_as_they_came(infer: Call) -> None:
    images = [spoken(3), spoken(1)]
    numbers = np.array(images).ravel().tolist()
    as_bytes = messages.ModelInferResponse.FromString(infer(message(*images).SerializeToString()))
    assert len(as_bytes.raw_output_contents) == len(as_bytes.outputs) == 4
    for request in (
        typed("UINT8", 2, uint_contents=numbers),
        typed("INT32", 2, int_contents=numbers),
        typed("INT64", 2, int64_contents=numbers),
        typed("FP32", 2, fp32_contents=numbers),
        typed("FP64", 2, fp64_contents=[number / 255 for number in numbers]),
    ):
        request.parameters["normalize"].bool_param = False
        answer = messages.ModelInferResponse.FromString(infer(request.SerializeToString()))
        assert not answer.raw_output_contents
        by_name = {output.name: output.contents for output in answer.outputs}
        assert by_name["label"].int64_contents == [3, 1]
        assert by_name["rejected"].bytes_contents == [b"", b""]
        probabilities = np.array(by_name["probabilities"].fp32_contents, "<f4")
        assert probabilities.tobytes() == as_bytes.raw_output_contents[2]
    request.parameters["binary_data_output"].bool_param = True
    assert labels(infer(request.SerializeToString())) == [3, 1]
    assert labels(infer(files(png(spoken(3))).SerializeToString())) != []


def bad_requests() -> Iterator[Any]:
    one = spoken(7)
    for name, request, code, details in (
        ("no message", ECHO.encode(), "INVALID_ARGUMENT", "not one of this protocol"),
        ("no text", b"\x0a\x01\xff", "INVALID_ARGUMENT", "not one of this protocol"),
        ("nothing", b"", "NOT_FOUND", "unknown model"),
        ("many inputs", b"\x2a\x00" * 10_000, "RESOURCE_EXHAUSTED", "at most 64 fields"),
        ("a long name", b"\x0a\xa0\x8d\x06" + b"x" * 100_000, "RESOURCE_EXHAUSTED", "65,536 bytes"),
        ("a large one", bytes(LIMIT + 1), "RESOURCE_EXHAUSTED", "larger than max"),
        ("no version", message(one, model_version="9"), "NOT_FOUND", "version 9"),
        (
            "no input",
            messages.ModelInferRequest(model_name="digits"),
            "INVALID_ARGUMENT",
            "one input",
        ),
        ("no image", message(), "INVALID_ARGUMENT", "no image"),
        ("many images", message(*[one] * 33), "INVALID_ARGUMENT", "at most 32 images"),
        ("a long id", message(one, id=ECHO * 200), "INVALID_ARGUMENT", "`id`"),
        (
            "a name",
            altered(message(one), name=ECHO),
            "INVALID_ARGUMENT",
            "unexpected inference input",
        ),
        ("a type", altered(message(one), datatype=ECHO), "INVALID_ARGUMENT", "UINT8"),
        ("a shape", altered(message(one), shape=[1, 28, 27]), "INVALID_ARGUMENT", "28,28"),
        ("an axis", altered(message(one), shape=[-1, 28, 28]), "INVALID_ARGUMENT", "shape"),
        ("too few bytes", altered(message(one), shape=[2, 28, 28]), "INVALID_ARGUMENT", "1,568"),
        ("too few numbers", typed(uint_contents=[1] * 783), "INVALID_ARGUMENT", "783 numbers"),
        (
            "another list",
            typed(int_contents=[1] * 784),
            "INVALID_ARGUMENT",
            "`uint_contents` has 0",
        ),
        ("a number", typed(uint_contents=[256] * 784), "INVALID_ARGUMENT", "from 0 to 255"),
        ("no number", typed("FP32", fp32_contents=[np.nan] * 784), "INVALID_ARGUMENT", "0 to 255"),
        ("a file", files(ECHO.encode()), "INVALID_ARGUMENT", "no image"),
        ("too few files", altered(files(b"x"), shape=[2]), "INVALID_ARGUMENT", "shape"),
        ("both", message(one, outputs=[{"name": ECHO}]), "INVALID_ARGUMENT", "inference output"),
    ):
        yield pytest.param(request, code, details, id=name)


@pytest.mark.parametrize(("request_", "code", "details"), [*bad_requests()])
def test_a_bad_call(infer: Call, request_: Any, code: str, details: str) -> None:
    found = refusal(infer, request_)
    assert found[0] == code, found
    assert details in found[1]
    assert ECHO not in found[1]


def test_an_unknown_method(server: Server) -> None:
    for call in method(server, "ModelStatistics"):
        assert refusal(call, b"")[0] == "UNIMPLEMENTED"


def test_the_doors_are_apart(server: Server) -> None:
    reply = server.exchange(f"POST {SERVICE}/ServerLive HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    assert reply.status == 404


def test_a_message_that_never_comes(server: Server) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.stream_unary(f"{SERVICE}/ModelInfer")
        never: Iterator[bytes] = iter(lambda: wait_until(lambda: False, 30), b"")
        with pytest.raises(grpc.RpcError) as raised:
            call(never)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_the_metrics_and_the_id(server: Server, infer: Call) -> None:
    counter = f'{COUNT}{{{ROUTE},status="200"}}'
    before = server.metric(counter)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(f"{SERVICE}/ModelInfer")
        request = message(spoken(7)).SerializeToString()
        _, made = call.with_call(request, metadata=[("x-request-id", "mine")])
    assert ("x-request-id", "mine") in made.trailing_metadata()
    wait_until(lambda: server.metric(counter) == before + 1)


@pytest.fixture(scope="module")
def busy(gated_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log_file = tmp_path_factory.mktemp("busy") / "log"
    settings = {"grpc_port": free_port(), "max_waiting_images": 12, "max_images": 8}
    settings["drain_seconds"] = CALL_SECONDS
    with serving(gated_models, log_file, **settings) as server:
        yield server


def test_too_many_calls_calls_that_are_late_and_calls_while_the_process_ends(
    busy: Server, gate: Gate
) -> None:
    waiting = "digits_waiting_images"
    request = message(*[gated(spoken(7))] * 24)  # six places
    with (
        ThreadPoolExecutor(3) as clients,
        grpc.insecure_channel(f"127.0.0.1:{busy.grpc_port}") as channel,
    ):
        infer = channel.unary_unary(f"{SERVICE}/ModelInfer")
        gate.shut()
        try:
            content = request.SerializeToString()
            answers = [clients.submit(infer, content, timeout=CALL_SECONDS) for _ in range(2)]
            wait_until(lambda: busy.metric(waiting) == 12)
            with pytest.raises(grpc.RpcError) as raised:
                infer(content, timeout=CALL_SECONDS)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            assert ("retry-after", "1") in raised.value.trailing_metadata()
            answers[1].cancel()
        finally:
            gate.open()
        assert all(labels(answer.result()) == [7] * 24 for answer in answers)

        gate.shut()
        try:
            assert refusal(infer, request, timeout=1)[0] == "DEADLINE_EXCEEDED"
            late = f'{COUNT}{{{ROUTE},status="'
            wait_until(lambda: busy.metric(f'{late}499"}}') + busy.metric(f'{late}504"}}') == 1)
            gate.open()
            wait_until(lambda: busy.metric(waiting) == 0)
            gate.shut()
            answer = clients.submit(infer, content, timeout=CALL_SECONDS)
            wait_until(lambda: busy.metric(waiting) == 6)
            busy.process.send_signal(signal.SIGTERM)
            wait_until(lambda: busy.log.count("draining"))

            def code_of_a_new_call() -> bool:
                with grpc.insecure_channel(f"127.0.0.1:{busy.grpc_port}") as other:
                    try:
                        other.unary_unary(f"{SERVICE}/ServerLive")(b"", timeout=CALL_SECONDS)
                    except grpc.RpcError as error:
                        return bool(error.code() is grpc.StatusCode.UNAVAILABLE)
                return False

            wait_until(code_of_a_new_call)
            assert not answer.done()
        finally:
            gate.open()
        assert labels(answer.result()) == [7] * 24
    busy.process.wait(CALL_SECONDS)
    assert "Traceback" not in busy.log


def test_several_workers_and_keys(stand_in_models: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(sha256(b"secret").hexdigest())
    settings = {"grpc_port": free_port(), "workers": 2, "api_keys_file": keys}
    with serving(stand_in_models, tmp_path / "log", **settings) as server:
        wait_until(lambda: server.log.count("gRPC is ready") == 2)
        request = message(spoken(7))
        for infer in method(server):
            assert refusal(infer, request)[0] == "UNAUTHENTICATED"
            wrong = [("authorization", "Bearer other")]
            assert refusal(infer, request, metadata=wrong)[0] == "PERMISSION_DENIED"
        right = [("authorization", "Bearer secret")]
        for _ in range(8):  # each a connection, which the kernel gives to either
            for infer in method(server):
                assert labels(infer(request.SerializeToString(), metadata=right)) == [7]
        for live in method(server, "ServerLive"):
            assert messages.ServerLiveResponse.FromString(live(b"")).live


def test_a_port_that_is_taken(stand_in_models: Path, server: Server, tmp_path: Path) -> None:
    second = start(stand_in_models, tmp_path / "log", grpc_port=server.grpc_port)
    assert second.process.wait(CALL_SECONDS) == 3
    assert f"DIGITS_GRPC_PORT: {server.grpc_port} can't be used" in second.log


def test_off_it_is_not_imported() -> None:
    program = "import sys, app.main; app.main.create_app(); assert 'grpc' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"DIGITS_GRPC_PORT": "8000", "DIGITS_PORT": "8000"}, "a port of its own"),
        ({"DIGITS_GRPC_PORT": "8001"}, "pip install grpcio open-inference-grpc"),
    ],
)
def test_settings_that_do_not_go(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], reason: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if "pip" in reason:
        monkeypatch.setattr(startup, "find_spec", lambda name: None)
    with pytest.raises(StartupError, match=reason):
        read_settings()

from __future__ import annotations

import asyncio
import io
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.errors import PROBLEMS
from digits import (
    AsyncClient,
    BadParameter,
    Client,
    DeadlineExceeded,
    DigitsError,
    ImageError,
    InvalidArgument,
    Model,
    PayloadTooLarge,
    Problem,
    Retries,
    Seen,
    ServiceError,
    SourceError,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from digits.errors import BY_SLUG
from digits.images import MAX_IMAGE_BYTES, READ_BYTES, read
from tests.client.service import Service, good, problem
from tests.conftest import EXAMPLES
from tests.faults.server import Server

ONCE = Retries(attempts=1)


def client_of(service: Service, **options: Any) -> Client:
    return Client("http://digits.test", transport=service.transport, **options)


def answering(response: httpx.Response) -> Client:
    return client_of(Service(refusals=[response]), retries=ONCE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "seven.png"
    path.write_bytes(good(7))
    return path


def test_a_prediction_has_what_the_answer_says(file: Path) -> None:
    prediction = client_of(Service()).predict(file)
    assert prediction.label == 7
    assert prediction.confidence == prediction.probabilities[7] == 0.91
    assert len(prediction.probabilities) == 10
    assert prediction.rejected is None
    assert prediction.seen is None
    assert prediction.model == Model("digits", "4")


def test_files_are_taken_in_each_form(file: Path) -> None:
    with client_of(Service()) as client:
        for image in (file, str(file), good(7), bytearray(good(7)), io.BytesIO(good(7))):
            assert client.predict(image).label == 7
        with file.open("rb") as opened:
            assert client.predict(opened).label == 7


def test_a_file_is_read_whole_however_it_comes() -> None:
    """As from a pipe, which gives what it has: `digits predict <(convert …)`."""
    content = bytes(range(256)) * (READ_BYTES // 100)
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as pipe, ThreadPoolExecutor(1) as thread:
        found = thread.submit(read, f"/dev/fd/{reader}")
        for start in range(0, len(content), 50_000):
            pipe.write(content[start : start + 50_000])
            pipe.flush()
        pipe.close()
        assert found.result().data == content
    os.close(reader)


def test_arrays_are_taken_in_each_form() -> None:
    rows = [[7, 255], [0, 3]]
    with client_of(Service()) as client:
        for image in (
            rows,
            tuple(map(tuple, rows)),
            np.array(rows),
            [np.array(row) for row in rows],
        ):
            assert client.predict(image).label == 7
        assert client.predict(np.array(rows, np.uint8)).label == 7
        assert client.predict(np.array(rows, np.float32)).label == 7


def test_a_mask_is_sent_as_numbers() -> None:
    assert read(np.array([[True, False], [False, True]])).data == b"[[1,0],[0,1]]"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_images_of_pillow_are_sent_as_png(mode: str) -> None:
    sent: list[Any] = []

    def keep(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return problem(415, "not-an-image", "Image 0: It is no image.")

    client = Client("http://digits.test", transport=httpx.MockTransport(keep))
    with pytest.raises(ImageError):
        client.predict(Image.new(mode, (5, 4)))
    start = sent[0].index(b"\x89PNG")
    assert Image.open(io.BytesIO(sent[0][start:])).size == (5, 4)


def test_an_image_of_pillow_is_sent_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated = io.BytesIO()
    Image.new("L", (5, 4)).save(rotated, "JPEG", exif=exif)
    service = Service()
    with pytest.raises(ImageError):
        client_of(service).predict(Image.open(rotated))
    body = service.requests[0].content
    assert Image.open(io.BytesIO(body[body.index(b"\x89PNG") :])).size == (4, 5)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("no such file", "No such file"),
        (Path("/"), "Is a directory"),
        ("zero\0byte", "null"),
        (b"", "is empty"),
        (io.StringIO("text"), "binary mode"),
        (object(), "object is no image"),
        (5, "int is no image"),
        (np.array(5), "ndarray is no image"),
        ({"image": [[1]]}, "dict is no image"),
        (bytes(MAX_IMAGE_BYTES + 1), "more than"),
    ],
    ids=["missing", "folder", "name", "empty", "text", "object", "number", "0-d", "dict", "large"],
)
def test_what_can_not_be_sent_is_not_sent(image: Any, reason: str) -> None:
    service = Service()
    with pytest.raises(SourceError, match=reason):
        client_of(service).predict(image)
    assert not service.requests


def test_options_go_into_the_query() -> None:
    service = Service()
    client_of(service).predict(good(1), normalize=False, include_seen=True)
    assert dict(service.requests[0].url.params) == {"normalize": "false", "include": "seen"}
    client_of(service).predict(good(1))
    assert not service.requests[1].url.params


def test_headers_have_the_key_and_the_time_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    client_of(service, api_key="secret", timeout_seconds=7).predict(good(1))
    monkeypatch.setenv("DIGITS_API_KEY", "other")
    client_of(service).predict(good(1))
    first, second = (request.headers for request in service.requests)
    assert (first["authorization"], first["x-deadline-seconds"]) == ("Bearer secret", "7")
    assert second["authorization"] == "Bearer other"


@pytest.mark.parametrize("make", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"timeout_seconds": math.nan}, "`timeout_seconds` is above 0"),
        ({"timeout_seconds": math.inf}, "`timeout_seconds` is above 0"),
        ({"timeout_seconds": 0}, "`timeout_seconds` is above 0"),
        ({"timeout_seconds": -1}, "`timeout_seconds` is above 0"),
        ({"timeout_seconds": 1e10}, "`timeout_seconds` is above 0 and at most 86,400."),
        ({"api_key": "se\ncret"}, "`api_key` or DIGITS_API_KEY"),
        ({"api_key": "secret\0"}, "`api_key` or DIGITS_API_KEY"),
        ({"api_key": "sécret"}, "`api_key` or DIGITS_API_KEY"),
        ({"url": "localhost:8000"}, "no address of a service. Give"),
        ({"url": "http://there/?x=1"}, "it has a query"),
        ({"url": "http://there/#x"}, "it has a query or a fragment"),
    ],
)
def test_what_can_not_be_is_said_when_a_client_is_made(
    make: type[Client | AsyncClient], options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidArgument, match=reason) as raised:
        make(**options)
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize("length", ["3", 3.0, (1, 2, 3), (1,), ("1", None), ()])
def test_a_length_that_is_none_is_told_so(length: Any) -> None:
    service = Service()
    with pytest.raises(InvalidArgument, match="`length` is how many digits"):
        client_of(service).read(good(1), length=length)
    assert not service.requests


def test_the_address_is_given_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIGITS_URL", raising=False)
    assert Client().url == "http://localhost:8000"
    monkeypatch.setenv("DIGITS_URL", "http://there:1/below")
    service = Service(refusals=[problem(404, "not-found")])
    with pytest.raises(Problem):
        Client(transport=service.transport).predict(good(1))
    assert str(service.requests[0].url) == "http://there:1/below/predict"
    assert Client("http://here").url == "http://here"


@pytest.mark.parametrize(
    ("status", "slug", "kind"),
    [
        (400, "malformed-body", Problem),
        (401, "unauthorized", Unauthorized),
        (403, "forbidden", Unauthorized),
        (413, "body-too-large", PayloadTooLarge),
        (415, "not-an-image", ImageError),
        (422, "too-many-images", PayloadTooLarge),
        (422, "broken-image", ImageError),
        (422, "bad-parameter", BadParameter),
        (429, "too-many-requests", Unavailable),
        (503, "queue-full", Unavailable),
        (504, "deadline-exceeded", DeadlineExceeded),
        (500, "internal-error", ServiceError),
    ],
)
def test_a_problem_is_raised_as_its_kind(status: int, slug: str, kind: type[Problem]) -> None:
    with pytest.raises(Problem) as raised:
        answering(problem(status, slug, "Image 0: So it is.")).predict(good(1))
    error = raised.value
    assert type(error) is kind
    assert (error.type, error.title, error.status) == (f"/problems/{slug}", "A title", status)
    assert (error.detail, error.request_id) == ("Image 0: So it is.", "an-id")
    assert str(error) == error.detail
    assert isinstance(error, DigitsError)


def test_kinds_that_are_named_exist() -> None:
    assert set(BY_SLUG) <= set(PROBLEMS)


def test_a_failure_without_a_document_has_its_status() -> None:
    with pytest.raises(ServiceError) as raised:
        answering(httpx.Response(505, text="<html>No such version")).predict(good(1))
    assert (raised.value.status, raised.value.title) == (505, "HTTP 505")


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, text="<html>Welcome"),
        httpx.Response(200, json={"predictions": []}),
        httpx.Response(200, json=[1]),
        httpx.Response(200, json={"model": {"name": "x", "version": "1"}, "predictions": []}),
        httpx.Response(302, headers={"location": "/login"}),
    ],
)
def test_another_service_is_told_from_this_one(response: httpx.Response) -> None:
    with pytest.raises(UnexpectedAnswer):
        answering(response).predict(good(1))


def test_the_model_that_is_live() -> None:
    assert client_of(Service()).model() == Model("digits", "4")


def test_both_clients_have_the_same_answers(file: Path) -> None:
    async def ask() -> tuple[Any, ...]:
        transport = Service().transport
        async with AsyncClient("http://digits.test", transport=transport) as client:
            return await client.predict(file), await client.model()

    with client_of(Service()) as client:
        assert asyncio.run(ask()) == (client.predict(file), client.model())


def test_the_service_answers(shipped: Server) -> None:
    with Client(f"http://127.0.0.1:{shipped.port}") as client:
        prediction = client.predict(EXAMPLES / "three.png", include_seen=True)
        assert client.model() == prediction.model
        with pytest.raises(ImageError) as raised:
            client.predict(b"no image")
        with pytest.raises(ImageError, match="28×28"):
            client.predict(EXAMPLES / "three.png", normalize=False)
        blank = client.predict(np.zeros((30, 20)))
    assert (prediction.label, prediction.rejected) == (3, None)
    assert isinstance(prediction.seen, Seen)
    assert prediction.seen.inverted
    assert prediction.seen.box is not None
    assert Image.open(io.BytesIO(prediction.seen.image)).size == (28, 28)
    assert raised.value.type == "/problems/not-an-image"
    assert raised.value.index == 0
    assert raised.value.request_id
    assert (blank.label, blank.rejected) == (None, "blank")

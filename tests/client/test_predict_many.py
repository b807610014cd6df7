from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digits import (
    AsyncClient,
    Client,
    ConnectionFailed,
    DeadlineExceeded,
    ImageError,
    Outcome,
    PayloadTooLarge,
    Problem,
    Retries,
    SourceError,
    Unauthorized,
)
from digits.images import BATCH_BYTES, Content, encode
from tests.client.service import BAD, Service, good, problem
from tests.conftest import EXAMPLES
from tests.faults.server import ANSWER_SECONDS, Server

MISSING = "no such file"
ARRAY = [[3, 200]]


def client_of(service: Service) -> Client:
    return Client("http://digits.test", transport=service.transport, retries=Retries(attempts=1))


def summary(outcomes: list[Outcome]) -> list[Any]:
    """Each image's digit, or the type of its error."""
    return [
        outcome.prediction.label if outcome.prediction else type(outcome.error)
        for outcome in outcomes
    ]


def expected(images: list[Any]) -> list[Any]:
    kinds = {BAD: ImageError, MISSING: SourceError}
    return [
        3 if image == ARRAY else kinds[image] if image in kinds else int(image[-1:])
        for image in images
    ]


IMAGES = st.lists(
    st.one_of(st.integers(0, 9).map(good), st.sampled_from([BAD, MISSING, ARRAY])), max_size=40
)


@given(IMAGES, st.integers(1, 12), st.integers(1, 3))
def test_each_image_has_its_outcome_in_order(
    images: list[Any], batch_size: int, in_flight: int
) -> None:
    with client_of(Service()) as client:
        outcomes = [*client.predict_many(images, batch_size=batch_size, in_flight=in_flight)]
    assert [outcome.source for outcome in outcomes] == images
    assert summary(outcomes) == expected(images)


@given(IMAGES, st.integers(1, 12))
def test_the_async_client_has_the_same_outcomes(images: list[Any], batch_size: int) -> None:
    async def generate() -> AsyncIterator[Any]:
        for image in images:
            yield image

    async def ask(given: Any) -> list[Outcome]:
        transport = Service().transport
        async with AsyncClient("http://digits.test", transport=transport) as client:
            return [each async for each in client.predict_many(given, batch_size=batch_size)]

    assert summary(asyncio.run(ask(images))) == expected(images)
    assert summary(asyncio.run(ask(generate()))) == expected(images)


def test_a_bad_image_costs_two_requests_more() -> None:
    service = Service()
    images = [good(1)] * 20 + [BAD] + [good(2)] * 11
    outcomes = [*client_of(service).predict_many(images, batch_size=32)]
    assert summary(outcomes) == expected(images)
    assert len(service.requests) == 3


def test_bad_images_alone_cost_a_request_each() -> None:
    service = Service()
    assert summary([*client_of(service).predict_many([BAD] * 32)]) == [ImageError] * 32
    assert len(service.requests) == 32


def test_a_batch_that_is_too_large_is_halved() -> None:
    service = Service(max_images=8)
    images = [good(index % 10) for index in range(32)]
    assert summary([*client_of(service).predict_many(images)]) == expected(images)
    assert len(service.requests) == 1 + 2 + 4


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (problem(504, "deadline-exceeded"), DeadlineExceeded),
        (problem(413, "body-too-large"), PayloadTooLarge),
    ],
)
def test_an_image_that_is_too_much_costs_itself(
    response: httpx.Response, kind: type[Problem]
) -> None:
    service = Service(refusals=[response])
    outcomes = [*client_of(service).predict_many([good(1), good(2)], batch_size=1, in_flight=1)]
    assert summary(outcomes) == [kind, 2]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (problem(401, "unauthorized"), Unauthorized),
        (problem(422, "bad-parameter"), Problem),
        (httpx.ConnectError("refused"), ConnectionFailed),
    ],
)
def test_what_is_about_no_image_ends_it(
    failure: httpx.Response | Exception, kind: type[Exception]
) -> None:
    service = Service(refusals=[failure])
    outcomes = client_of(service).predict_many([good(1)] * 3, batch_size=1, in_flight=1)
    with pytest.raises(kind):
        next(outcomes)


def test_an_async_failure_ends_it_and_leaves_no_task() -> None:
    async def ask() -> int:
        failures: list[httpx.Response | Exception] = [httpx.ConnectError("refused")] * 4
        transport = Service(refusals=failures).transport
        retries = Retries(attempts=1)
        async with AsyncClient("http://x.test", transport=transport, retries=retries) as client:
            with pytest.raises(ConnectionFailed):
                async for _ in client.predict_many([good(1)] * 9, batch_size=1):
                    pass
        return len(asyncio.all_tasks())

    assert asyncio.run(ask()) == 1


class Counted:
    """A generator of images that counts how many were taken from it."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        for index in range(self.count):
            self.taken += 1
            yield good(index % 10)


def test_images_are_taken_as_outcomes_are() -> None:
    images = Counted(10_000)
    most = answered = 0
    for outcome in client_of(Service()).predict_many(images, batch_size=16, in_flight=3):
        assert outcome.prediction is not None
        assert outcome.prediction.label == answered % 10
        answered += 1
        most = max(most, images.taken - answered)
    assert answered == 10_000
    # Six batches ahead, three of them in flight, and the image that did not fit into the last.
    assert most <= 16 * 6 + 1


def test_images_are_taken_as_async_outcomes_are() -> None:
    images = Counted(2_000)

    async def ask() -> tuple[int, int]:
        most = answered = 0
        async with AsyncClient("http://digits.test", transport=Service().transport) as client:
            async for _ in client.predict_many(images, batch_size=16, in_flight=3):
                answered += 1
                most = max(most, images.taken - answered)
        return answered, most

    answered, most = asyncio.run(ask())
    assert answered == 2_000
    assert most <= 16 * (6 + 1)


def test_several_requests_are_in_flight() -> None:
    together = threading.Barrier(3)

    def meet(request: httpx.Request) -> None:
        together.wait(ANSWER_SECONDS)  # which would break, were there fewer at once

    service = Service(before=meet)
    images = [good(index) for index in range(9)]
    outcomes = [*client_of(service).predict_many(images, batch_size=1, in_flight=3)]
    assert summary(outcomes) == list(range(9))


def test_answers_that_come_out_of_order_are_put_in_order() -> None:
    last_came = threading.Event()

    def hold_the_first(request: httpx.Request) -> None:
        if good(0) in request.content:
            assert last_came.wait(ANSWER_SECONDS)
        if good(5) in request.content:
            last_came.set()

    service = Service(before=hold_the_first)
    images = [good(index) for index in range(6)]  # three more than there are requests at once
    outcomes = [*client_of(service).predict_many(images, batch_size=1, in_flight=3)]
    assert summary(outcomes) == [0, 1, 2, 3, 4, 5]


def test_a_request_has_few_bytes_or_a_single_image() -> None:
    service = Service()
    large = BAD + bytes(BATCH_BYTES)
    half = BAD + bytes(BATCH_BYTES // 2)
    assert len([*client_of(service).predict_many([half, half, large, BAD, BAD])]) == 5
    assert all(len(request.content) < 1.01 * len(large) for request in service.requests)


def test_one_can_stop_early() -> None:
    images = Counted(1_000)
    outcomes = client_of(Service()).predict_many(images, batch_size=4, in_flight=2)
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert images.taken < 20


def test_nothing_has_no_outcomes() -> None:
    service = Service()
    assert [*client_of(service).predict_many([])] == []
    assert not service.requests


def test_the_service_names_the_bad_images(shipped: Server) -> None:
    truncated = (EXAMPLES / "seven.jpg").read_bytes()[:2000]
    images: list[Any] = [
        EXAMPLES / "three.png",
        b"text",
        EXAMPLES / "five.png",
        truncated,
        ARRAY,
        MISSING,
    ]
    images += [EXAMPLES / "seven.jpg", [[1, 2], [3]]]
    with Client(f"http://127.0.0.1:{shipped.port}") as client:
        outcomes = [*client.predict_many(images)]
    assert summary(outcomes)[:4] == [3, ImageError, 5, ImageError]
    assert outcomes[4].prediction is not None
    assert summary(outcomes)[5:] == [SourceError, 7, ImageError]


def test_a_form_has_each_file_whole_whatever_its_bytes() -> None:
    files = [b"--", b"\r\n--x\r\n\r\n", bytes(range(256))]
    body, media_type = encode([Content(data) for data in files])
    empty, *parts, end = body.split(b"--" + media_type.partition("boundary=")[2].encode())
    assert (empty, end) == (b"", b"--\r\n")
    heads, found = zip(*(part.split(b"\r\n\r\n", 1) for part in parts), strict=True)
    assert all(b'form-data; name="file"; filename=' in head for head in heads)
    assert [data.removesuffix(b"\r\n") for data in found] == files

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from digits import (
    AsyncClient,
    Client,
    ConnectionFailed,
    Problem,
    Retries,
    ServiceError,
    TimedOut,
    Unavailable,
)
from digits.retries import retry_after_seconds
from tests.client.service import Service, good, problem

REFUSED = httpx.ConnectError("Connection refused")


def busy(seconds: str | None = None, status: int = 503) -> httpx.Response:
    headers = {} if seconds is None else {"retry-after": seconds}
    return problem(status, "queue-full", headers=headers)


def slept(service: Service, retries: Retries | None = None) -> list[float]:
    """How long a client waits, and between which requests, until it has its prediction."""
    pauses: list[float] = []
    with Client(
        "http://digits.test", transport=service.transport, retries=retries, sleep=pauses.append
    ) as client:
        assert client.predict(good(7)).label == 7
    return pauses


@pytest.mark.parametrize("status", [503, 429])
def test_what_is_busy_is_asked_again_when_it_says(status: int) -> None:
    service = Service(refusals=[busy("3", status), busy("4", status)])
    assert slept(service) == [3, 4]
    assert len(service.requests) == 3
    assert len({request.content for request in service.requests}) == 1


def test_a_connection_that_is_refused_is_tried_again_after_ever_longer() -> None:
    failures: list[httpx.Response | Exception] = [REFUSED] * 4
    pauses = slept(Service(refusals=failures), Retries(first_seconds=1))
    assert len(pauses) == 4
    for pause, longest in zip(pauses, (1, 2, 4, 8), strict=True):
        assert longest / 2 <= pause <= longest


@pytest.mark.parametrize(("failures", "lines"), [(1, 0), (2, 1), (4, 1)])
def test_a_warning_says_once_what_is_waited_for(
    failures: int, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    refusals: list[httpx.Response | Exception] = [REFUSED] * failures
    slept(Service(refusals=refusals))
    assert len(caplog.messages) == lines
    for line in caplog.messages:
        assert line.startswith("http://digits.test can't be reached")
        assert line.endswith("Trying again, at most 4 more times.")


@pytest.mark.parametrize("status", [500, 502])
def test_what_a_gateway_has_lost_is_tried_again(status: int) -> None:
    assert len(slept(Service(refusals=[httpx.Response(status, text="The replica died.")]))) == 1


def test_a_failure_of_the_services_own_is_not_tried_again() -> None:
    with pytest.raises(ServiceError):
        slept(Service(refusals=[problem(500, "internal-error")]))


def test_a_connection_that_is_cut_off_is_tried_again() -> None:
    cut = httpx.RemoteProtocolError("Server disconnected without sending a response.")
    assert len(slept(Service(refusals=[cut]))) == 1


def test_an_answer_that_can_not_be_decoded_is_a_failed_connection() -> None:
    garbled = httpx.DecodingError("Error -3 while decompressing data")
    assert len(slept(Service(refusals=[garbled]))) == 1


def test_zero_seconds_is_no_busy_loop() -> None:
    assert slept(Service(refusals=[busy("0")]), Retries(first_seconds=1))[0] >= 0.5


def test_attempts_are_bounded() -> None:
    service = Service(refusals=[busy("1")] * 9)
    with pytest.raises(Unavailable) as raised:
        slept(service, Retries(attempts=3))
    assert len(service.requests) == 3
    assert raised.value.retry_after_seconds == 1


def test_waiting_is_bounded() -> None:
    service = Service(refusals=[busy("8")] * 9)
    with pytest.raises(Unavailable):
        slept(service, Retries(attempts=9, total_seconds=20))
    assert len(service.requests) == 3
    service = Service(refusals=[busy("3600")])
    with pytest.raises(Unavailable):
        slept(service)
    assert len(service.requests) == 1


def test_what_timed_out_is_not_asked_again() -> None:
    service = Service(refusals=[httpx.ReadTimeout("too slow")])
    with pytest.raises(TimedOut, match="no answer in time"):
        slept(service)
    assert len(service.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 415, 422, 500, 502, 504])
def test_other_problems_are_final(status: int) -> None:
    service = Service(refusals=[problem(status, "x")])
    with pytest.raises(Problem):
        slept(service)
    assert len(service.requests) == 1


def test_a_refused_connection_names_the_address() -> None:
    service = Service(refusals=[REFUSED])
    with pytest.raises(ConnectionFailed, match=r"http://digits\.test can't be reached") as raised:
        slept(service, Retries(attempts=1))
    assert raised.value.__cause__ is REFUSED


def test_the_async_client_waits_by_the_same_rule() -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def ask() -> int | None:
        transport = Service(refusals=[busy("3"), REFUSED]).transport
        async with AsyncClient("http://digits.test", transport=transport, sleep=pause) as client:
            return (await client.predict(good(7))).label

    assert asyncio.run(ask()) == 7
    assert pauses[0] == 3
    assert len(pauses) == 2


def test_retry_after_is_seconds_or_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert retry_after_seconds({"retry-after": "12"}) == 12
    assert 3500 < (retry_after_seconds({"retry-after": later}) or 0) <= 3600
    past = format_datetime(datetime.fromtimestamp(time.time() - 60, UTC), usegmt=True)
    assert retry_after_seconds({"retry-after": past}) == 0
    for nonsense in ("soon", "-1", "1.5", "²", ""):
        assert retry_after_seconds({"retry-after": nonsense}) is None
    assert retry_after_seconds({}) is None

"""The clients of the service: `Client`, and `AsyncClient` for asyncio."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Self

import httpx

from .errors import InvalidArgument
from .flows import Flow, MakeRequest, Result, fetch, predict, predict_batch, read_numbers
from .images import Content, Image, Item, async_batches, batches, encode, read
from .results import Model, Number, Outcome, Prediction
from .retries import Retries

DEFAULT_URL = "http://localhost:8000"
TIMEOUT_SECONDS = 30.0
"""The service's own limit, unless it is set to another."""
URL_VARIABLE, KEY_VARIABLE = "DIGITS_URL", "DIGITS_API_KEY"
MAX_TIMEOUT_SECONDS = 86_400.0
"""A day: who waits longer waits for nothing, and sockets can't wait without end."""
CONNECT_SECONDS = 5.0
GRACE_SECONDS = 5.0
"""How much longer than the service's deadline an answer is awaited: its own word for what took so
long says more than a connection that was cut."""
BATCH_SIZE = 96
"""Images in a request. Each takes this side 1 ms, whatever is in it: 11 µs an image. With four at
once, a quarter of what a worker of the service lets wait is left to others."""
IN_FLIGHT = 4
"""Requests at once: enough that a worker of the service never waits for the next."""
AHEAD = 2
"""Batches that are read and not yet yielded, for each request at once. Outcomes come in order: what
waits for an older request holds up no newer one."""
Lengths = tuple[int | None, int | None]
"""Digits of a number, at least and at most; None leaves it open."""


class Connection:
    """How a service is reached and asked; what both clients have in common.

    Args:
        url: Address of the service. Default: `DIGITS_URL`, else http://localhost:8000.
        api_key: The key, where the service wants any. Default: `DIGITS_API_KEY`.
        timeout_seconds: Seconds for a request, its upload and waiting in the service included;
            the service is told, and does not begin what nobody waits for.
        retries: When and how often to try again.

    Raises:
        InvalidArgument: The address is none of a service, the key can't be sent, or the time is
            none above 0 and up to a day.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries: Retries | None = None,
    ) -> None:
        self.url = _checked(url or os.environ.get(URL_VARIABLE) or DEFAULT_URL)
        self.retries = retries or Retries()
        key = _sendable((api_key or os.environ.get(KEY_VARIABLE, "")).strip())
        if not 0 < timeout_seconds <= MAX_TIMEOUT_SECONDS:
            raise InvalidArgument(
                f"`timeout_seconds` is above 0 and at most {MAX_TIMEOUT_SECONDS:,.0f}."
            )
        self._headers = {"user-agent": "digits-python", "x-deadline-seconds": f"{timeout_seconds}"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._timeout = httpx.Timeout(timeout_seconds + GRACE_SECONDS, connect=CONNECT_SECONDS)

    def _options(self) -> dict[str, Any]:
        return {"base_url": self.url, "headers": self._headers, "timeout": self._timeout}


def _checked(url: str) -> str:
    reason = ""
    with suppress(httpx.InvalidURL):
        address = httpx.URL(url)
        if address.query or address.fragment:
            reason = ": it has a query or a fragment"
        elif address.scheme in ("http", "https") and address.host:
            return url
    raise InvalidArgument(
        f"{url!r} is no address of a service{reason}. Give one such as {DEFAULT_URL}."
    )


def _sendable(key: str) -> str:
    """Return the key, which may stand in a header; an error does not repeat it."""
    if key.isascii() and key.isprintable():
        return key
    raise InvalidArgument(
        f"The API key, from `api_key` or {KEY_VARIABLE}, has characters that no header takes: line "
        "breaks, or others that are not of ASCII."
    )


def _maker(
    http: httpx.Client | httpx.AsyncClient, route: str, parameters: dict[str, str]
) -> MakeRequest:
    """Return the function that makes requests to `route` with these parameters."""

    def make(contents: Sequence[Content]) -> httpx.Request:
        body, media_type = encode(contents)
        headers = {"content-type": media_type}
        return http.build_request("POST", route, params=parameters, content=body, headers=headers)

    return make


def _predict_parameters(normalize: bool, include_seen: bool) -> dict[str, str]:
    parameters = {} if normalize else {"normalize": "false"}
    return parameters | _seen_parameter(include_seen)


def _read_parameters(
    length: int | Lengths | None, pattern: str | None, check: str | None, include_seen: bool
) -> dict[str, str]:
    least, most = _lengths(length)
    given = {"min_length": least, "max_length": most, "pattern": pattern, "check": check}
    parameters = {name: str(value) for name, value in given.items() if value is not None}
    return parameters | _seen_parameter(include_seen)


def _lengths(length: int | Lengths | None) -> Lengths:
    match length:
        case None:
            return None, None
        case int():
            return length, length
        case (int() | None, int() | None):
            return length
    raise InvalidArgument(
        "`length` is how many digits there are, such as 4, or how many at least and at most, such "
        "as (2, 6) or (2, None)."
    )


def _seen_parameter(include_seen: bool) -> dict[str, str]:
    return {"include": "seen"} if include_seen else {}


class Client(Connection):
    """Asks a service for predictions. Safe to use from several threads.

    Example:
        with Client("http://localhost:8000") as client:
            prediction = client.predict("seven.png")

    The arguments are those of `Connection`, and:

    Args:
        transport: Takes requests instead of the network, such as `httpx.MockTransport`.
        sleep: Waits for some seconds before another attempt.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(url, api_key=api_key, timeout_seconds=timeout_seconds, retries=retries)
        self._http = httpx.Client(**self._options(), transport=transport)
        self._sleep = sleep

    def predict(
        self, image: Image, *, normalize: bool = True, include_seen: bool = False
    ) -> Prediction:
        """Ask what digit `image` shows.

        Args:
            image: A path, a file's bytes, a file object, an image of Pillow, a NumPy array or
                nested lists.
            normalize: False where it is 28×28, white ink on black, and to be taken as it is.
            include_seen: Whether to say what the model saw.

        Raises:
            DigitsError: There is no prediction; `digits.errors` has the tree.
        """
        make = _maker(self._http, "predict", _predict_parameters(normalize, include_seen))
        return self._run(predict(make, [read(image)], self.retries))[0]

    def read(
        self,
        image: Image,
        *,
        length: int | Lengths | None = None,
        pattern: str | None = None,
        check: str | None = None,
        include_seen: bool = False,
    ) -> Number:
        """Ask what number `image` shows, of one or more digits in a row.

        What is known of the number helps to read it; docs/numbers.md says more.

        Args:
            image: As for `predict`.
            length: How many digits it has, or how many at least and at most.
            pattern: How it is written, such as `#,##9.99`.
            check: The rule that its check digits obey: `luhn` or `mod97`.
            include_seen: Whether to say what the model saw.

        Raises:
            DigitsError: There is no answer; `digits.errors` has the tree.
        """
        make = _maker(self._http, "read", _read_parameters(length, pattern, check, include_seen))
        return self._run(read_numbers(make, [read(image)], self.retries))[0]

    def predict_many(
        self,
        images: Iterable[Image],
        *,
        normalize: bool = True,
        include_seen: bool = False,
        batch_size: int = BATCH_SIZE,
        in_flight: int = IN_FLIGHT,
    ) -> Iterator[Outcome]:
        """Ask for predictions of any number of images; yield an outcome for each, in order.

        At most `batch_size` × (2 `in_flight` + 1) images are held at any time. An image that can't
        be read has an outcome with an error, and costs no other image anything.

        Args:
            images: Taken from as outcomes are.
            normalize: As for `predict`.
            include_seen: As for `predict`.
            batch_size: Images in a request at most; the service takes 256.
            in_flight: Requests at once.

        Raises:
            DigitsError: The service can't be reached, or refuses every image.
        """
        make = _maker(self._http, "predict", _predict_parameters(normalize, include_seen))
        pending: deque[Future[list[Outcome]]] = deque()
        with ThreadPoolExecutor(in_flight, thread_name_prefix="digits") as threads:
            try:
                for batch in batches(images, batch_size):
                    flow = predict_batch(make, batch, self.retries)
                    pending.append(threads.submit(self._run, flow))
                    while pending and (pending[0].done() or len(pending) == AHEAD * in_flight):
                        yield from pending.popleft().result()
                while pending:
                    yield from pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def card(self) -> dict[str, Any]:
        """Return the live model's card: how it was trained, its figures and thresholds."""
        card: dict[str, Any] = self._run(
            fetch(self._http.build_request("GET", "model"), self.retries)
        )
        return card

    def model(self) -> Model:
        """Return the name and version of the live model."""
        card = self.card()
        return Model(str(card["name"]), str(card["version"]))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, flow: Flow[Result]) -> Result:
        try:
            step = next(flow)
            while True:
                if step.pause_seconds:
                    self._sleep(step.pause_seconds)
                try:
                    response = self._http.send(step.request)
                except httpx.RequestError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(response)
        except StopIteration as stop:
            result: Result = stop.value
            return result


class AsyncClient(Connection):
    """Asks a service for predictions, for asyncio.

    Example:
        async with AsyncClient("http://localhost:8000") as client:
            prediction = await client.predict("seven.png")

    Arguments and methods are those of `Client`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        super().__init__(url, api_key=api_key, timeout_seconds=timeout_seconds, retries=retries)
        self._http = httpx.AsyncClient(**self._options(), transport=transport)
        self._sleep = sleep

    async def predict(
        self, image: Image, *, normalize: bool = True, include_seen: bool = False
    ) -> Prediction:
        """Ask what digit `image` shows; see `Client.predict`."""
        make = _maker(self._http, "predict", _predict_parameters(normalize, include_seen))
        content = await asyncio.to_thread(read, image)
        return (await self._run(predict(make, [content], self.retries)))[0]

    async def read(
        self,
        image: Image,
        *,
        length: int | Lengths | None = None,
        pattern: str | None = None,
        check: str | None = None,
        include_seen: bool = False,
    ) -> Number:
        """Ask what number `image` shows; see `Client.read`."""
        make = _maker(self._http, "read", _read_parameters(length, pattern, check, include_seen))
        content = await asyncio.to_thread(read, image)
        return (await self._run(read_numbers(make, [content], self.retries)))[0]

    async def predict_many(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        *,
        normalize: bool = True,
        include_seen: bool = False,
        batch_size: int = BATCH_SIZE,
        in_flight: int = IN_FLIGHT,
    ) -> AsyncIterator[Outcome]:
        """Ask for predictions of any number of images; see `Client.predict_many`."""
        make = _maker(self._http, "predict", _predict_parameters(normalize, include_seen))
        pending: deque[asyncio.Task[list[Outcome]]] = deque()
        turns = asyncio.Semaphore(in_flight)

        async def ask(batch: Sequence[Item]) -> list[Outcome]:
            async with turns:
                return await self._run(predict_batch(make, batch, self.retries))

        try:
            async for batch in async_batches(images, batch_size):
                pending.append(asyncio.create_task(ask(batch)))
                while pending and (pending[0].done() or len(pending) == AHEAD * in_flight):
                    for outcome in await pending.popleft():
                        yield outcome
            while pending:
                for outcome in await pending.popleft():
                    yield outcome
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def card(self) -> dict[str, Any]:
        """Return the live model's card: how it was trained, its figures and thresholds."""
        request = self._http.build_request("GET", "model")
        card: dict[str, Any] = await self._run(fetch(request, self.retries))
        return card

    async def model(self) -> Model:
        """Return the name and version of the live model."""
        card = await self.card()
        return Model(str(card["name"]), str(card["version"]))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, flow: Flow[Result]) -> Result:
        try:
            step = next(flow)
            while True:
                if step.pause_seconds:
                    await self._sleep(step.pause_seconds)
                try:
                    response = await self._http.send(step.request)
                except httpx.RequestError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(response)
        except StopIteration as stop:
            result: Result = stop.value
            return result

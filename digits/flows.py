"""What is sent, and in which order, without doing it: the same for both clients.

A flow is a generator: it yields steps, is sent their responses (or has `httpx.RequestError`
thrown at it), and returns its result. `Client` and `AsyncClient` differ in how they take a step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeVar

import httpx

from .errors import (
    ConnectionFailed,
    DeadlineExceeded,
    DigitsError,
    ImageError,
    PayloadTooLarge,
    Problem,
    TimedOut,
    UnexpectedAnswer,
    problem_from,
)
from .images import Content, Item
from .results import Number, Outcome, Prediction, parse_numbers, parse_predictions
from .retries import Retries, retry_after_seconds

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Step(NamedTuple):
    """A request to send, after a pause."""

    pause_seconds: float
    request: httpx.Request


Flow = Generator[Step, httpx.Response, Result]
MakeRequest = Callable[[Sequence[Content]], httpx.Request]
"""Make the request that asks about the contents, which are of one kind."""

OF_AN_IMAGE = (ImageError, PayloadTooLarge, DeadlineExceeded)
"""Problems that other images, or fewer of them, may not have."""
TOLD_ATTEMPT = 2
"""The attempt after which a warning says what is waited for: a kept connection may be cut once."""


def fetch(request: httpx.Request, retries: Retries) -> Flow[Any]:
    """Have `request` answered, trying again as `retries` allow; return the answer's JSON.

    Raises:
        ConnectionFailed, UnexpectedAnswer, Problem: There is no answer.
    """
    pause = waited = 0.0
    attempt = 0
    while True:
        attempt += 1
        try:
            response = yield Step(pause, request)
            return _json_of(response)
        except httpx.RequestError as request_error:
            error: DigitsError = _failed(request, request_error)
            error.__cause__ = request_error
        except Problem as problem:
            error = problem
        delay = retries.delay(error, attempt, waited)
        if delay is None:
            raise error
        if attempt == TOLD_ATTEMPT and isinstance(error, ConnectionFailed):
            more = retries.attempts - attempt
            log.warning("%s Trying again, at most %d more times.", error, more)
        pause = delay
        waited += delay


def predict(
    make: MakeRequest, contents: Sequence[Content], retries: Retries
) -> Flow[Sequence[Prediction]]:
    """Ask for the predictions of `contents`, which are of one kind, in one request."""
    answer = yield from fetch(make(contents), retries)
    return parse_predictions(answer, len(contents))


def read_numbers(
    make: MakeRequest, contents: Sequence[Content], retries: Retries
) -> Flow[Sequence[Number]]:
    """Ask for the numbers in `contents`, which are of one kind, in one request."""
    answer = yield from fetch(make(contents), retries)
    return parse_numbers(answer, len(contents))


def predict_batch(
    make: MakeRequest, items: Sequence[Item], retries: Retries
) -> Flow[list[Outcome]]:
    """Ask for predictions so that an image which can't be read costs nothing but itself.

    The service refuses a request for one bad image and names it. The others are sent again, in
    halves: if all are bad, the bytes sent grow with the logarithm of their number.

    Raises:
        ConnectionFailed, UnexpectedAnswer, Problem: It is not about an image.
    """
    outcomes: dict[int, Outcome] = {}
    left: list[list[tuple[int, Content]]] = [[]]
    for index, (source, content, error) in enumerate(items):
        if content is None:
            outcomes[index] = Outcome(source, error=error)
        else:
            left[0].append((index, content))
    while left:
        part = left.pop()
        if not part:
            continue
        try:
            predictions = yield from predict(make, [content for _, content in part], retries)
        except OF_AN_IMAGE as problem:
            bad = problem.index if len(part) > 1 else 0
            if bad is not None and bad < len(part):
                index, _ = part.pop(bad)
                outcomes[index] = Outcome(items[index].source, error=problem)
            half = len(part) // 2
            left += [part[half:], part[:half]]
            continue
        for (index, _), prediction in zip(part, predictions, strict=True):
            outcomes[index] = Outcome(items[index].source, prediction)
    return [outcomes[index] for index in range(len(items))]


def _json_of(response: httpx.Response) -> Any:
    """Return the document of a success.

    Raises:
        Problem: The status is another.
        UnexpectedAnswer: It is no JSON.
    """
    try:
        document = response.json()
    except ValueError:
        document = None
    if response.is_success and document is not None:
        return document
    if response.is_success or response.is_redirect:
        raise UnexpectedAnswer(
            f"{response.url.copy_with(userinfo=b'')} answers with status {response.status_code} "
            "and no JSON. Is this Digits?"
        )
    raise problem_from(
        document if isinstance(document, dict) else {},
        status=response.status_code,
        retry_after_seconds=retry_after_seconds(response.headers),
    )


def _failed(request: httpx.Request, error: httpx.RequestError) -> ConnectionFailed:
    address = f"{request.url.scheme}://{request.url.netloc.decode()}"
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return TimedOut(f"{address} gave no answer in time ({reason}).")
    return ConnectionFailed(f"{address} can't be reached ({reason}).")

"""A stand-in for the service behind `httpx.MockTransport`: it reads bodies as the service does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from app.api.formats import parse

GOOD, BAD = b"good", b"bad"
"""Beginnings of files that it reads and that it does not; a good one's next byte is its digit."""


def good(label: int) -> bytes:
    """A file that is answered with `label`."""
    return GOOD + b"%d" % label


def problem(
    status: int, slug: str, detail: str = "", headers: dict[str, str] | None = None
) -> httpx.Response:
    document = {
        "type": f"/problems/{slug}",
        "title": "A title",
        "status": status,
        "detail": detail,
        "request_id": "an-id",
    }
    return httpx.Response(status, json=document, headers=headers)


def prediction(label: int) -> dict[str, Any]:
    probabilities = [0.01] * 10
    probabilities[label] = 0.91
    return {"label": label, "confidence": 0.91, "probabilities": probabilities, "rejected": None}


@dataclass
class Service:
    """Answers each file with the digit in it, and an array with its first number.

    Attributes:
        max_images: Images that it takes in a request.
        refusals: Responses that are given first, one a request.
        requests: What has come.
        before: Called before each answer.
    """

    max_images: int = 256
    refusals: list[httpx.Response | Exception] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    before: Callable[[httpx.Request], None] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            self.requests.append(request)
            refusal = self.refusals.pop(0) if self.refusals else None
        if isinstance(refusal, Exception):
            raise refusal
        if refusal is not None:
            return refusal
        if self.before is not None:
            self.before(request)
        if request.url.path == "/model":
            return httpx.Response(200, json={"name": "digits", "version": "4"})
        return self.answer(request)

    def answer(self, request: httpx.Request) -> httpx.Response:
        kind = request.headers["content-type"].encode()
        images = parse(request.content, kind, max_images=10_000)
        if len(images) > self.max_images:
            return problem(422, "too-many-images", f"At most {self.max_images} images.")
        predictions = []
        for index, image in enumerate(images):
            if isinstance(image, np.ndarray):
                predictions.append(prediction(int(image[0, 0])))
            elif image.startswith(GOOD):
                predictions.append(prediction(int(image.removeprefix(GOOD))))
            else:
                return problem(415, "not-an-image", f"Image {index}: It is no image.")
        model = {"name": "digits", "version": "4"}
        return httpx.Response(200, json={"model": model, "predictions": predictions})

"""Predictions -> the JSON of an answer."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..serving.feedback import id_of
from ..serving.predictions import Prediction, Predictions
from ..serving.reader import Number, Numbers
from ..vision.decode import encode_png
from ..vision.grayscale import GrayImage


def encode(value: Any) -> bytes:
    """JSON of dicts, lists and arrays; float32 is written with the digits that it has."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_predictions(predictions: Predictions, *, seen: bool = False, ids: bool = False) -> bytes:
    """An answer with one prediction an image, in order.

    Args:
        predictions: Of one request.
        seen: Whether to add what the model saw of each image.
        ids: Whether to add the ids that feedback wants.
    """
    classifier = predictions.classifier
    return encode(
        {
            "model": {"name": classifier.name, "version": classifier.version},
            "predictions": [_prediction(one, seen=seen, ids=ids) for one in predictions],
        }
    )


def json_response(content: Any, status: int = 200) -> Response:
    """A response with JSON of dicts, lists and arrays."""
    return Response(encode(content), status, media_type="application/json")


def encode_numbers(numbers: Numbers, *, seen: bool = False, ids: bool = False) -> bytes:
    """An answer with one number an image, in order.

    Args:
        numbers: Of one request.
        seen: Whether to add what the model saw of each image.
        ids: Whether to add to each number, and each of its digits, the id that feedback wants.
    """
    classifier = numbers.classifier
    return encode(
        {
            "model": {"name": classifier.name, "version": classifier.version},
            "numbers": [_number(one, seen=seen, ids=ids) for one in numbers.items],
        }
    )


class Content:
    """A response with status 200, of which all is known: Starlette's looks at each header again.

    Args:
        body: All of it.
        media_type: Of the body.
        headers: Others, their names in lower case.
    """

    def __init__(
        self, body: bytes, media_type: bytes = b"application/json", *headers: tuple[bytes, bytes]
    ) -> None:
        self.body = body
        self.headers = [
            (b"content-type", media_type),
            (b"content-length", b"%d" % len(body)),
            *headers,
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, in two messages."""
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def _prediction(prediction: Prediction, *, seen: bool, ids: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "label": prediction.label,
        "confidence": prediction.confidence,
        "probabilities": prediction.probabilities,
        "rejected": prediction.rejected,
    }
    if ids:
        answer["id"] = id_of(prediction.normalized.digit)
    if seen:
        normalized = prediction.normalized
        answer["seen"] = {
            "image": _data_uri(normalized.digit),
            "inverted": normalized.inverted,
            "box": normalized.box,
            "boxes": prediction.boxes,
            "warnings": normalized.warnings,
        }
    return answer


def _number(number: Number, *, seen: bool, ids: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "text": number.text,
        "confidence": number.confidence,
        "digits": [
            {
                "label": digit.label,
                "confidence": digit.confidence,
                "probabilities": digit.probabilities,
                "box": digit.box,
                **({"id": id_of(digit.normalized)} if ids else {}),
            }
            for digit in number.digits
        ],
        "alternatives": [
            {"text": reading.text, "confidence": reading.probability}
            for reading in number.alternatives
        ],
        "rejected": number.rejected,
    }
    if ids and (strip := number.row.strip()).size:
        answer["id"] = id_of(strip)
    if seen:
        digits = [digit.normalized for digit in number.digits]
        answer["seen"] = {
            "image": _data_uri(np.concatenate(digits, axis=1)) if digits else None,
            "inverted": number.row.inverted,
            "box": number.row.box,
        }
    return answer


def _data_uri(image: GrayImage) -> str:
    return f"data:image/png;base64,{base64.b64encode(encode_png(image)).decode()}"

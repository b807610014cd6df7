"""Predictions -> the JSON of an answer."""

from __future__ import annotations

import base64
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Send

from ..serving.feedback import id_of
from ..serving.predictor import Prediction, Predictions
from ..vision.decode import encode_png


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
            "predictions": [_prediction(one, seen=seen, ids=ids) for one in predictions.items],
        }
    )


def json_response(content: Any, status: int = 200) -> Response:
    """A response with JSON of dicts, lists and arrays."""
    return Response(encode(content), status, media_type="application/json")


async def send_json(send: Send, body: bytes) -> None:
    """Send `body` as a response with status 200."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


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
        image = base64.b64encode(encode_png(normalized.digit)).decode()
        answer["seen"] = {
            "image": f"data:image/png;base64,{image}",
            "inverted": normalized.inverted,
            "box": normalized.box,
            "warnings": normalized.warnings,
        }
    return answer

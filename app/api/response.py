"""Readings -> the JSON of an answer, whichever way the request came."""

from __future__ import annotations

import base64
from typing import Any

from ..inference.loading import Classifier
from ..serving.predictor import Reading
from ..vision.decode import encode_png
from . import schemas


def answer(classifier: Classifier, readings: list[Reading], *, seen: bool = False) -> bytes:
    """One prediction a reading, in order; with `seen`, what the model saw of each."""
    return schemas.encode(
        {
            "model": {"name": classifier.name, "version": classifier.version},
            "predictions": [_prediction(reading, seen=seen) for reading in readings],
        }
    )


def _prediction(reading: Reading, *, seen: bool) -> dict[str, Any]:
    prediction: dict[str, Any] = {
        "label": reading.label,
        "confidence": reading.confidence,
        "probabilities": reading.probabilities,
        "rejected": reading.rejected,
    }
    if seen:
        png = base64.b64encode(encode_png(reading.seen.digit)).decode()
        prediction["seen"] = {
            "image": f"data:image/png;base64,{png}",
            "inverted": reading.seen.inverted,
            "box": reading.seen.box,
            "warnings": reading.seen.warnings,
        }
    return prediction

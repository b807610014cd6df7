from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from app.api.response import encode, encode_predictions
from app.inference.classifier import Classifier, Rejection, Thresholds
from app.serving.predictor import Prediction, Predictions
from app.vision.decode import decode
from app.vision.normalize import Normalized
from tests.conftest import no_rows

CLASSIFIER = Classifier("digits", "4", {}, Thresholds(0.5, 0.5), no_rows)
DIGIT = np.arange(784, dtype=np.uint32).astype(np.uint8).reshape(28, 28)
SEEN = Normalized(DIGIT, inverted=True, box=(1, 2, 3, 4), warnings=("touches-edge",))
PROBABILITIES = np.linspace(0, 0.2, 10, dtype=np.float32)
TENTHS = np.full(10, 0.1, np.float32)
PREDICTIONS = Predictions(
    CLASSIFIER,
    [
        Prediction(9, PROBABILITIES[9], PROBABILITIES, None, SEEN),
        Prediction(None, 0.1, TENTHS, Rejection.BLANK, SEEN._replace(box=None)),
    ],
)


def test_an_answer_names_the_model_and_has_the_predictions_in_order() -> None:
    document = json.loads(encode_predictions(PREDICTIONS))
    assert document["model"] == {"name": "digits", "version": "4"}
    first, second = document["predictions"]
    assert first["label"] == 9
    assert first["confidence"] == 0.2
    assert first["probabilities"] == pytest.approx(PROBABILITIES.tolist())
    assert (second["label"], second["rejected"]) == (None, "blank")
    assert "seen" not in first


def test_seen_is_added_where_it_is_asked_for() -> None:
    first, second = json.loads(encode_predictions(PREDICTIONS, seen=True))["predictions"]
    png = base64.b64decode(first["seen"].pop("image").removeprefix("data:image/png;base64,"))
    assert (decode(png).gray == DIGIT).all()
    assert first["seen"] == {"inverted": True, "box": [1, 2, 3, 4], "warnings": ["touches-edge"]}
    assert second["seen"]["box"] is None


def test_single_precision_is_written_as_such() -> None:
    assert encode({"p": np.array([0.1, 1 / 3], np.float32)}) == b'{"p":[0.1,0.33333334]}'

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from app.api.response import answer
from app.inference.loading import Classifier, Thresholds
from app.serving.predictor import Reading
from app.vision.decode import decode
from app.vision.normalize import Normalized
from tests.conftest import no_rows

CLASSIFIER = Classifier("digits", "4", {}, Thresholds(0.5, 0.5), no_rows)
DIGIT = np.arange(784, dtype=np.uint32).astype(np.uint8).reshape(28, 28)
SEEN = Normalized(DIGIT, inverted=True, box=(1, 2, 3, 4), warnings=("touches-edge",))
PROBABILITIES = np.linspace(0, 0.2, 10, dtype=np.float32)
READINGS = [
    Reading(9, PROBABILITIES[9], PROBABILITIES, None, SEEN),
    Reading(None, 0.1, np.full(10, 0.1, np.float32), "blank", SEEN._replace(box=None)),
]


def test_an_answer_names_the_model_and_has_the_readings_in_order() -> None:
    document = json.loads(answer(CLASSIFIER, READINGS))
    assert document["model"] == {"name": "digits", "version": "4"}
    first, second = document["predictions"]
    assert first["label"] == 9
    assert first["confidence"] == 0.2
    assert first["probabilities"] == pytest.approx(PROBABILITIES.tolist())
    assert (second["label"], second["rejected"]) == (None, "blank")
    assert "seen" not in first


def test_what_was_seen_is_told_where_it_is_asked_for() -> None:
    first, second = json.loads(answer(CLASSIFIER, READINGS, seen=True))["predictions"]
    png = base64.b64decode(first["seen"].pop("image").removeprefix("data:image/png;base64,"))
    assert (decode(png, max_pixels=784).grey == DIGIT).all()
    assert first["seen"] == {"inverted": True, "box": [1, 2, 3, 4], "warnings": ["touches-edge"]}
    assert second["seen"]["box"] is None

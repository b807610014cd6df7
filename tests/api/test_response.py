from __future__ import annotations

import asyncio
import base64
import json
import math

import numpy as np
import pytest
from starlette.types import Message

from app.api.response import Content, encode, encode_predictions
from app.api.schemas import Answer
from app.inference.classifier import Classifier, Rejection, Thresholds
from app.serving.predictions import Predictions
from app.vision.decode import decode
from app.vision.normalize import Normalized
from tests.conftest import no_rows

CLASSIFIER = Classifier("digits", "4", {}, Thresholds(0.5, 0.5), no_rows)
DIGIT = np.arange(784, dtype=np.uint32).astype(np.uint8).reshape(28, 28)
SEEN = Normalized(DIGIT, inverted=True, box=(1, 2, 3, 4), warnings=("touches_edge",))
NOT_SEEN = SEEN._replace(box=None, inverted=False, warnings=())
PROBABILITIES = np.linspace(0, 0.2, 10, dtype=np.float32)
PREDICTIONS = Predictions(
    CLASSIFIER,
    labels=[9, None],
    confidences=np.array([PROBABILITIES[9], 0.1], np.float32),
    probabilities=np.array([PROBABILITIES, [0.1] * 10], np.float32),
    rejected=[None, Rejection.BLANK],
    normalized=[SEEN, NOT_SEEN],
    boxes=[(), ()],
)


def test_single_precision_is_written_with_the_digits_that_it_has() -> None:
    assert encode({"p": np.array([0.1, 1 / 3], np.float32)}) == b'{"p":[0.1,0.33333334]}'
    assert encode({"p": np.float32(0.1)}) == b'{"p":0.1}'


def test_an_answer_names_the_model_and_has_the_predictions_in_order() -> None:
    document = json.loads(encode_predictions(PREDICTIONS))
    assert document.keys() == {"model", "predictions"}
    assert document["model"] == {"name": "digits", "version": "4"}
    first, second = document["predictions"]
    assert first.keys() == {"label", "confidence", "probabilities", "rejected"}
    assert (first["label"], first["confidence"], first["rejected"]) == (9, 0.2, None)
    assert first["probabilities"] == pytest.approx(PROBABILITIES.tolist())
    assert (second["label"], second["confidence"], second["rejected"]) == (None, 0.1, "blank")
    assert second["probabilities"] == [0.1] * 10


def test_what_was_seen_is_told_where_it_is_asked_for() -> None:
    first, second = json.loads(encode_predictions(PREDICTIONS, seen=True))["predictions"]
    kind, text = first["seen"].pop("image").split(",")
    assert kind == "data:image/png;base64"
    assert (decode(base64.b64decode(text)).gray == DIGIT).all()
    assert first["seen"] == {
        "inverted": True,
        "box": [1, 2, 3, 4],
        "boxes": [],
        "warnings": ["touches_edge"],
    }
    assert second["seen"].keys() == {"image", "inverted", "box", "boxes", "warnings"}
    assert (second["seen"]["box"], second["seen"]["warnings"]) == (None, [])


@pytest.mark.parametrize("seen", [False, True])
def test_an_answer_is_as_the_schema_says(seen: bool) -> None:
    answer = Answer.model_validate_json(encode_predictions(PREDICTIONS, seen=seen))
    assert [one.label for one in answer.predictions] == [9, None]
    assert (answer.predictions[0].seen is not None) is seen
    assert math.isclose(answer.predictions[0].confidence, 0.2, rel_tol=1e-6)


def test_json_is_sent_in_two_messages() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    asyncio.run(Content(b"{}")({}, receive, send))
    start, body = sent
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert dict(start["headers"]) == {b"content-type": b"application/json", b"content-length": b"2"}
    assert body == {"type": "http.response.body", "body": b"{}"}

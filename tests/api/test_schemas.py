from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.api.schemas import Answer, Health, ManyImages, OneImage, ProblemDetails
from app.inference.classifier import Rejection

PREDICTION = {"label": 7, "confidence": 0.1, "probabilities": [0.1] * 10, "rejected": None}
SEEN = {"image": "data:,", "inverted": False, "box": [1, 2, 3, 4], "boxes": [], "warnings": []}


def answer(**changes: Any) -> Answer:
    document = {"model": {"name": "digits", "version": "1"}, "predictions": [PREDICTION | changes]}
    return Answer.model_validate(document)


@pytest.mark.parametrize(
    "image",
    [[[0]], [[0, 255], [1, 2]], [[0.5, 1.0]], [0] * 784, "iVBORw0KGgo="],
    ids=["one", "rows", "0-1", "flat", "text"],
)
def test_images(image: Any) -> None:
    assert OneImage.model_validate({"image": image}).image == image
    assert ManyImages.model_validate({"images": [image, image]}).images == [image, image]


@pytest.mark.parametrize(
    "image", [[], [[]], [0] * 783, [0] * 785, [[256]], [[-1]], [["x"]], None, [[[0]]], 7], ids=repr
)
def test_what_is_no_image(image: Any) -> None:
    with pytest.raises(ValidationError):
        OneImage.model_validate({"image": image})
    with pytest.raises(ValidationError):
        ManyImages.model_validate({"images": [image]})


@pytest.mark.parametrize("document", [{}, {"images": []}, {"images": [[[0]]], "image": [[0]]}])
def test_what_is_no_list_of_images(document: Any) -> None:
    with pytest.raises(ValidationError):
        ManyImages.model_validate(document)


@pytest.mark.parametrize("document", [{}, {"image": [[0]], "normalize": False}])
def test_what_is_not_one_image(document: Any) -> None:
    with pytest.raises(ValidationError):
        OneImage.model_validate(document)


@pytest.mark.parametrize("rejected", [None, *Rejection])
def test_an_answer_has_a_reason_or_none(rejected: Rejection | None) -> None:
    assert answer(rejected=rejected).predictions[0].rejected == rejected


def test_a_blank_has_no_label_and_may_have_been_seen_without_ink() -> None:
    (prediction,) = answer(label=None, rejected="blank", seen=SEEN | {"box": None}).predictions
    assert prediction.label is None
    assert prediction.seen is not None
    assert prediction.seen.box is None
    assert answer().predictions[0].seen is None


@pytest.mark.parametrize(
    "changes",
    [
        {"label": 10},
        {"label": -1},
        {"confidence": 1.1},
        {"probabilities": [0.1] * 9},
        {"rejected": "bored"},
        {"seen": SEEN | {"box": [1, 2, 3]}},
    ],
    ids=str,
)
def test_what_is_no_answer(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        answer(**changes)


def test_problems_and_health_are_described() -> None:
    assert set(ProblemDetails.model_fields) == {"type", "title", "status", "detail", "request_id"}
    assert Health(status="ok").model_dump() == {"status": "ok", "model": None, "detail": None}

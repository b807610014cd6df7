from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.api.schemas import Answer, ManyImages, OneImage


@pytest.mark.parametrize(
    "image",
    [[[0]], [[0, 255], [1, 2]], [[0.5, 1.0]], [0] * 784, "aGVsbG8="],
    ids=["one", "rows", "0-1", "flat", "text"],
)
def test_images_as_numbers(image: Any) -> None:
    assert OneImage.model_validate({"image": image}).image == image
    assert ManyImages.model_validate({"images": [image, image]}).images == [image, image]


@pytest.mark.parametrize(
    "image", [[], [[]], [0] * 783, [[256]], [[-1]], [["x"]], None, [[[0]]]], ids=repr
)
def test_what_is_no_image(image: Any) -> None:
    with pytest.raises(ValidationError):
        OneImage.model_validate({"image": image})
    with pytest.raises(ValidationError):
        ManyImages.model_validate({"images": [image]})


@pytest.mark.parametrize("document", [{}, {"images": []}, {"images": [[[0]]], "image": [[0]]}])
def test_what_is_no_batch(document: Any) -> None:
    with pytest.raises(ValidationError):
        ManyImages.model_validate(document)


def test_a_blank_has_no_label() -> None:
    prediction = {
        "label": None,
        "confidence": 0.1,
        "probabilities": [0.1] * 10,
        "rejected": "blank",
    }
    answer = Answer.model_validate(
        {"model": {"name": "digits", "version": "1"}, "predictions": [prediction]}
    )
    assert answer.predictions[0].seen is None

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.errors import ModelError
from app.inference.cascade import ACCURATE, FAST, SINGLE, cascade, compose, is_unsure, unsure
from app.inference.classifier import Images, Scores


def fast(images: Images) -> Scores:
    """Return the scores that an image's first two pixels name, in hundredths."""
    scores = np.zeros((len(images), 11), np.float32)
    scores[:, [0, 10]] = images[:, 0, :2] / np.float32(100)
    scores[:, 1] = 1 - scores[:, 0]
    return scores


def accurate(images: Images) -> Scores:
    """Return the image's third pixel in hundredths, for each score."""
    return np.repeat(images[:, 0, 2:3] / np.float32(100), 11, axis=1)


IMAGES = np.zeros((5, 28, 28), np.uint8)
IMAGES[:, 0, 0] = 99, 99, 80, 1, 90  # the first label's probability, of two
IMAGES[:, 0, 1] = 99, 80, 99, 99, 90  # the digit score
IMAGES[:, 0, 2] = 20, 21, 22, 23, 24


def test_the_accurate_network_answers_where_the_fast_one_is_unsure() -> None:
    asked: list[list[int]] = []

    def recorded(images: Images) -> Scores:
        asked.append(images[:, 0, 2].tolist())
        return accurate(images)

    both = cascade(fast, recorded, float(np.float32(0.9)))
    scores = both(IMAGES)
    assert asked == [[21, 22]]
    expected = fast(IMAGES)
    expected[1:3] = accurate(IMAGES[1:3])
    assert np.array_equal(scores, expected)


def test_the_accurate_network_is_not_asked_about_nothing() -> None:
    def never(images: Images) -> Scores:
        raise AssertionError

    assert np.array_equal(cascade(fast, never, 0.5)(IMAGES[:1]), fast(IMAGES[:1]))


def test_the_rule_is_the_same_for_tensors() -> None:
    import tensorflow as tf  # noqa: PLC0415 -- see conftest.py

    scores = fast(IMAGES)
    tensor = tf.constant(scores)
    found = is_unsure(tf.reduce_max(tensor[:, :10], axis=1), tensor[:, 10], 0.985)
    assert found.numpy().tolist() == unsure(scores, 0.985).tolist()
    assert found.numpy().tolist() == [False, True, True, False, True]


def test_a_single_network_is_used_as_it_is() -> None:
    assert compose({SINGLE: fast}, {}) is fast


@pytest.mark.parametrize(
    ("networks", "card"),
    [
        ({}, {}),
        ({FAST: fast, ACCURATE: accurate}, {}),
        ({FAST: fast, ACCURATE: accurate}, {"cascade": {"threshold": "high"}}),
        ({FAST: fast}, {"cascade": {"threshold": 0.9}}),
        ({ACCURATE: accurate}, {"cascade": {"threshold": 0.9}}),
    ],
)
def test_an_incomplete_cascade(networks: dict[str, Any], card: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="cascade is missing"):
        compose(networks, card)

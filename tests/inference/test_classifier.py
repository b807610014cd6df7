from __future__ import annotations

import numpy as np
import pytest

from app.errors import ModelError
from app.inference.classifier import Classifier, Images, Rejection, Scores, Thresholds, are_several


@pytest.mark.parametrize(
    ("confidence", "digit_score", "expected"),
    [
        (0.9, 0.9, None),
        (0.6, 0.5, None),
        (0.59, 0.5, Rejection.UNCERTAIN),
        (0.6, 0.49, Rejection.NOT_A_DIGIT),
        (0.1, 0.1, Rejection.NOT_A_DIGIT),
    ],
    ids=["above both", "at both", "confidence below", "digit score below", "below both"],
)
def test_the_rule_of_acceptance(
    confidence: float, digit_score: float, expected: Rejection | None
) -> None:
    thresholds = Thresholds(digit_score=0.5, confidence=0.6)
    assert thresholds.rejection(confidence, digit_score) is expected


@pytest.mark.parametrize(
    ("inside", "accepted", "expected"),
    [
        ([], True, False),
        ([True], True, False),
        ([True, True], True, True),
        ([True, True], False, True),
        ([False], True, True),
        ([False], False, False),
        ([True, False], False, True),
    ],
    ids=[
        "strokes of one",
        "one stroke is like a digit",
        "each stroke is a digit",
        "each, and not together",
        "one beside",
        "one beside what is none",
        "one and one beside",
    ],
)
def test_the_rule_of_several(inside: list[bool], accepted: bool, expected: bool) -> None:
    assert are_several(inside, accepted=accepted) is expected


def test_a_part_of_an_accepted_digit_must_be_acceptable_itself() -> None:
    thresholds = Thresholds(digit_score=0.98, confidence=0.9)
    assert thresholds.is_digit_apart(0.85, 0.9, contested=False)
    assert not thresholds.is_digit_apart(0.85, 0.9, contested=True)
    assert thresholds.is_digit_apart(0.95, 0.99, contested=True)
    assert not thresholds.is_digit_apart(0.95, 0.6, contested=False)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_an_error(value: float) -> None:
    def compute(images: Images) -> Scores:
        scores = np.full((len(images), 11), 0.1, np.float32)
        scores[-1, 3] = value
        return scores

    classifier = Classifier("digits", "1", {}, Thresholds(0, 0), compute)
    with pytest.raises(ModelError, match="not finite"):
        classifier(np.zeros((2, 28, 28), np.uint8))

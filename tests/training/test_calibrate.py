import numpy as np
import pytest
from numpy.typing import NDArray

from training import calibrate


def drawn_from(logits: calibrate.Floats) -> NDArray[np.intp]:
    """Labels that really have the probabilities softmax(logits)."""
    noise = np.random.default_rng(0).gumbel(size=logits.shape)
    labels: NDArray[np.intp] = (logits + noise).argmax(axis=1)
    return labels


@pytest.mark.parametrize("true", [0.3, 1.0, 2.5], ids=str)
def test_the_temperature_that_was_applied_is_found(true: float) -> None:
    logits = np.random.default_rng(1).normal(0, 2, (50_000, 10))
    labels = drawn_from(logits)
    assert calibrate.temperature(logits * true, labels) == pytest.approx(true, rel=0.03)


def test_weights_say_whose_temperature_it_is() -> None:
    logits = np.random.default_rng(1).normal(0, 2, (40_000, 10))
    labels = drawn_from(logits)
    logits[20_000:] *= 3
    weights = np.repeat([1.0, 0.0], 20_000)
    assert calibrate.temperature(logits, labels, weights) == pytest.approx(1, rel=0.05)
    assert calibrate.temperature(logits, labels, 1 - weights) == pytest.approx(3, rel=0.05)


def test_always_right_is_bounded() -> None:
    logits = np.eye(10)
    assert calibrate.temperature(logits, np.arange(10)) == pytest.approx(0.05, rel=0.01)


def test_softmax_survives_large_logits() -> None:
    probabilities = calibrate.softmax(np.array([[1000.0, 0.0], [-1000.0, -1000.0]]))
    assert probabilities == pytest.approx(np.array([[1, 0], [0.5, 0.5]]))


def test_honest_probabilities_have_no_calibration_error() -> None:
    logits = np.random.default_rng(1).normal(0, 2, (50_000, 10))
    labels = drawn_from(logits)
    assert calibrate.reliability(calibrate.softmax(logits), labels).ece < 0.01
    assert calibrate.reliability(calibrate.softmax(logits * 3), labels).ece > 0.1


def test_a_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [1.0, 0.0]])
    curve = calibrate.reliability(probabilities, np.array([0, 1, 1, 0]))
    assert curve.count.sum() == 4
    assert curve.count[13] == 2
    assert curve.count[-1] == 1
    assert curve.accuracy[13] == 0.5
    assert curve.ece == pytest.approx((2 * 0.4 + 0.4 + 0) / 4)


@pytest.mark.parametrize(
    ("accepted", "expected"), [(1.0, 0), (0.99, 10), (0.5, 500)], ids=["all", "99%", "half"]
)
def test_a_threshold_accepts_the_share_it_promises(accepted: float, expected: int) -> None:
    scores = np.random.default_rng(0).permutation(1000).astype(float)
    limit = calibrate.threshold(scores, accepted=accepted)
    assert limit == expected
    assert np.mean(scores >= limit) == accepted

import numpy as np
import pytest
from numpy.typing import NDArray

from app.inference.classifier import Compute, Images, Scores
from training import calibrate
from training.corpora import data


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


LABELS = np.array([0, 1, 2, 3], np.uint8)
IMAGES = np.zeros((4, 28, 28), np.uint8)
IMAGES[:, 0, 0] = np.arange(4)
DIGITS = data.Digits(IMAGES, LABELS)


def network(labels: list[int], confidence: list[float]) -> Compute:
    """Return a network that gives the four images these labels, with this confidence."""

    def compute(images: Images) -> Scores:
        which = images[:, 0, 0]
        scores = np.zeros((len(which), 11), np.float32)
        scores[np.arange(len(which)), np.array(labels)[which]] = np.array(confidence)[which]
        scores[:, 10] = 1
        return scores

    return compute


@pytest.mark.parametrize(
    ("fast", "accurate", "expected"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], 0.9),
        ([0, 1, 2, 7], [0, 1, 2, 3], 0.9),
        ([7, 1, 2, 3], [0, 1, 2, 3], 0.99),
        ([7, 1, 2, 3], [8, 1, 2, 3], 0.9),
        ([7, 7, 7, 7], [0, 1, 2, 3], 0.998),
    ],
    ids=["never wrong", "unsure where wrong", "wrong", "both wrong", "always wrong"],
)
def test_the_cascades_threshold_is_the_least_without_more_mistakes(
    fast: list[int], accurate: list[int], expected: float
) -> None:
    networks = network(fast, [0.985, 0.992, 0.996, 0.5]), network(accurate, [0.9] * 4)
    assert calibrate.cascade_threshold(*networks, [DIGITS], least=0.85) == expected


def test_the_cascades_threshold_holds_in_each_set_and_is_not_below_the_least() -> None:
    networks = network([7, 1, 2, 3], [0.985, 1, 1, 1]), network([0, 1, 2, 3], [1.0] * 4)
    clean = data.Digits(IMAGES[1:], LABELS[1:])
    assert calibrate.cascade_threshold(*networks, [clean], least=0.5) == 0.9
    assert calibrate.cascade_threshold(*networks, [clean, DIGITS], least=0.5) == 0.99
    assert calibrate.cascade_threshold(*networks, [clean], least=0.983) == 0.99


def test_a_fast_network_that_is_confident_of_a_mistake_never_answers() -> None:
    networks = network([7, 1, 2, 3], [1.0] * 4), network([0, 1, 2, 3], [1.0] * 4)
    threshold = calibrate.cascade_threshold(*networks, [DIGITS], least=0.5)
    assert threshold == calibrate.NEVER_CONFIDENT > 1

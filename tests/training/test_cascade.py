import numpy as np
import pytest
from numpy.typing import NDArray

from training import cascade
from training.cascade import Answer, Reader
from training.corpora import data

LABELS = np.array([0, 1, 2, 3], np.uint8)
IMAGES = np.zeros((4, 28, 28), np.uint8)
IMAGES[:, 0, 0] = np.arange(4)
DIGITS = data.Digits(IMAGES, LABELS)


def reader(labels: list[int], surety: list[float], score: list[float] | None = None) -> Reader:
    """Answers the four images with these labels, as sure as this."""

    def read(images: NDArray[np.uint8]) -> Answer:
        rows = images[:, 0, 0]
        probabilities = np.zeros((len(rows), 10))
        probabilities[np.arange(len(rows)), np.array(labels)[rows]] = np.array(surety)[rows]
        return probabilities, np.array(score or [1.0] * 4)[rows]

    return read


def test_the_careful_one_answers_where_the_quick_one_is_not_sure() -> None:
    quick = reader([5, 5, 5, 5], [0.99, 0.98, 0.5, 0.99], [0.99, 0.99, 0.99, 0.5])
    careful = reader([7, 7, 7, 7], [0.6] * 4, [0.3] * 4)
    probabilities, score = cascade.both(quick, careful, 0.98)(IMAGES)
    assert probabilities.argmax(axis=1).tolist() == [5, 5, 7, 7]
    assert probabilities.max(axis=1).tolist() == [0.99, 0.98, 0.6, 0.6]
    assert score.tolist() == [0.99, 0.99, 0.3, 0.3]


@pytest.mark.parametrize(
    ("quick", "careful", "expected"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], 0.9),
        ([0, 1, 2, 7], [0, 1, 2, 3], 0.9),
        ([7, 1, 2, 3], [0, 1, 2, 3], 0.99),
        ([7, 1, 2, 3], [8, 1, 2, 3], 0.9),
        ([7, 7, 7, 7], [0, 1, 2, 3], 0.998),
    ],
    ids=["never wrong", "unsure where wrong", "wrong", "both wrong", "always wrong"],
)
def test_enough_is_the_least_with_no_more_mistakes(
    quick: list[int], careful: list[int], expected: float
) -> None:
    readers = reader(quick, [0.985, 0.992, 0.996, 0.5]), reader(careful, [0.9] * 4)
    assert cascade.enough(*readers, [DIGITS], least=0.85) == expected


def test_enough_holds_in_each_set_and_is_not_below_the_least() -> None:
    readers = reader([7, 1, 2, 3], [0.985, 1, 1, 1]), reader([0, 1, 2, 3], [1.0] * 4)
    clean = data.Digits(IMAGES[1:], LABELS[1:])
    assert cascade.enough(*readers, [clean], least=0.5) == 0.9
    assert cascade.enough(*readers, [clean, DIGITS], least=0.5) == 0.99
    assert cascade.enough(*readers, [clean], least=0.983) == 0.99


def test_who_is_sure_of_a_mistake_is_never_sure_enough() -> None:
    readers = reader([7, 1, 2, 3], [1.0] * 4), reader([0, 1, 2, 3], [1.0] * 4)
    assert cascade.enough(*readers, [DIGITS], least=0.5) > 1

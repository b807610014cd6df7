from pathlib import Path

import numpy as np
import pytest

from app.inference.classifier import Images, Scores
from training import validation
from training.corpora import data
from training.corpora.data import DataError, Digits

RNG = np.random.default_rng(0)


def some(n: int) -> Digits:
    """Images whose first pixel is their label, and whose second is a level."""
    images = np.zeros((n, 28, 28), np.uint8)
    labels = (np.arange(n) % 10).astype(np.uint8)
    images[:, 0, 0] = labels
    images[:, 0, 1] = np.linspace(0, 255, n)
    return Digits(images, labels)


def graded(images: Images) -> Scores:
    """Read every label; be as sure of it, and that it is a digit, as the level says."""
    level = 0.5 + images[:, 0, 1] / 512
    probabilities = np.full((len(images), 10), 0.0)
    probabilities[np.arange(len(images)), images[:, 0, 0]] = level
    return np.column_stack((probabilities, level))


def a_split(n: int = 240) -> data.Split:
    return data.Split(some(n), some(n), some(10), {})


def test_collections_are_mnist_s_and_those_of_the_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "fonts.npz", digits=some(20).images, labels=some(20).labels)
    other = RNG.integers(0, 256, (5, 16, 16)).astype(np.uint8)
    np.savez(tmp_path / "usps.npz", x=other, y=np.arange(5, dtype=np.uint8))
    found = validation.collections(a_split(), [tmp_path / "fonts.npz", tmp_path / "usps.npz"])
    assert list(found) == ["mnist", "altered", "fonts", "usps"]
    assert np.array_equal(found["fonts"].images, some(20).images)
    assert found["usps"].images.shape == (5, 28, 28)
    assert not np.array_equal(found["altered"].images, found["mnist"].images)


def test_what_is_no_collection_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.npz"):
        validation.read(tmp_path / "none.npz")
    np.savez(tmp_path / "odd.npz", z=np.zeros(3))
    with pytest.raises(DataError, match="no x and y"):
        validation.read(tmp_path / "odd.npz")


def test_thresholds_accept_the_promised_share_of_every_collection() -> None:
    easy, hard = some(1000), some(1000)
    easy.images[:, 0, 1] = 255
    held_back = {"mnist": easy, "altered": easy, "hard": hard}
    chosen = validation.thresholds(graded, held_back)
    figures = validation.measured(graded, chosen, held_back)
    assert figures["hard"]["accepted"] >= 0.965
    assert figures["hard"]["accepted"] < 1
    assert figures["mnist"]["accepted"] == 1


def test_thresholds_look_at_readable_digits_alone() -> None:
    digits = some(1000)
    unreadable = Digits(digits.images.copy(), digits.labels)
    unreadable.images[:300, 0, 0] = (unreadable.images[:300, 0, 0] + 1) % 10
    chosen = validation.thresholds(graded, {"mnist": unreadable})
    assert chosen.digit_score > 0.5 + 250 * 0.3 / 512


def test_altered_arrays_do_not_move_the_thresholds() -> None:
    digits = some(500)
    alone = validation.thresholds(graded, {"mnist": digits})
    low = Digits(digits.images.copy(), digits.labels)
    low.images[:, 0, 1] = 0
    assert validation.thresholds(graded, {"mnist": digits, "altered": low}) == alone


def test_a_cascade_is_judged_on_three_sets() -> None:
    held_back = {"mnist": some(10), "altered": some(20), "fonts": some(30), "usps": some(40)}
    sizes = [len(digits) for digits in validation.sets_for_cascade(held_back)]
    assert sizes == [10, 20, 70]
    own = {name: held_back[name] for name in ("mnist", "altered")}
    assert len(validation.sets_for_cascade(own)) == 2

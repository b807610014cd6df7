import numpy as np
import pytest

from training import export
from training.corpora import corruptions

DIGITS = export.golden_images()[:10]


@pytest.mark.parametrize("kind", corruptions.KINDS)
def test_a_kind_alters_what_it_is_given_and_nothing_else(kind: str) -> None:
    rng = np.random.default_rng(1)
    before = DIGITS.copy()
    altered = np.stack([corruptions.corrupt(digit, kind, rng) for digit in DIGITS])
    assert altered.shape == DIGITS.shape
    assert altered.dtype == np.uint8
    assert np.array_equal(DIGITS, before)
    changed = (altered != DIGITS).any(axis=(1, 2))
    assert changed.mean() >= 0.5
    assert altered.std(axis=(1, 2)).min() > 0


@pytest.mark.parametrize("kind", corruptions.KINDS)
def test_a_seed_decides_everything(kind: str) -> None:
    first, again = (
        corruptions.corrupt(DIGITS[8], kind, np.random.default_rng(5)) for _ in range(2)
    )
    assert np.array_equal(first, again)


def test_levels_go_up_and_shapes_move() -> None:
    rng = np.random.default_rng(2)
    assert corruptions.corrupt(DIGITS[3], "raised black", rng).min() >= 25
    assert np.array_equal(corruptions.corrupt(DIGITS[3], "inverted", rng), 255 - DIGITS[3])
    assert set(np.unique(corruptions.corrupt(DIGITS[3], "two levels", rng))) == {0, 255}
    thin, thick = (corruptions.corrupt(DIGITS[3], kind, rng) for kind in ("thinner", "thicker"))
    assert thin.sum() < DIGITS[3].sum() < thick.sum()


def test_some_of_each() -> None:
    images = np.repeat(DIGITS[:1], 40, axis=0)
    altered = corruptions.some(images, np.random.default_rng(3))
    assert altered.shape == images.shape
    assert len({image.tobytes() for image in altered}) > 30

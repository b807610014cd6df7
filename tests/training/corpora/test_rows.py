import numpy as np
import pytest

from app.vision.segment import segment
from tests.vision.test_normalize import ink
from training.corpora import rows

DIGITS = [np.pad(ink(digit, 20), 4) for digit in (2, 3, 4, 7)]


@pytest.mark.parametrize("kind", rows.KINDS)
def test_a_row_is_made_again_by_its_seed(kind: str) -> None:
    one, other = (rows.render(DIGITS, kind, np.random.default_rng(5)) for _ in range(2))
    assert one.dtype == np.uint8
    assert one.shape[1] > one.shape[0]
    assert np.array_equal(one, other)
    assert segment(one).box is not None


def test_digits_that_touch_are_one_piece_or_nearly() -> None:
    apart = rows.joined(DIGITS, (0.3, 0.3), np.random.default_rng(1))
    deep = rows.joined(DIGITS, (0.3, 0.3), np.random.default_rng(1), depth=(0.2, 0.2), pairs=3)
    assert (apart > 96).any(axis=0).sum() >= (deep > 96).any(axis=0).sum()
    assert deep.shape[1] < apart.shape[1]


@pytest.mark.parametrize("held_back", [False, True])
def test_what_is_no_number_is_drawn(held_back: bool) -> None:
    for seed in range(5):
        picture = rows.no_number(np.random.default_rng(seed), held_back=held_back)
        assert picture.dtype == np.uint8
        assert np.ptp(picture) > 100

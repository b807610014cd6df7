from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.vision.segment import segment
from app.vision.strip import DIGIT_HEIGHT, MAX_STRIP, RIM, STRIP_HEIGHT, strip_of
from tests.serving.test_reader import row


def digits_in(strip: np.ndarray) -> tuple[int, int, int]:
    """Top and bottom of the ink, and its columns."""
    y, x = np.nonzero(strip > 96)
    return int(y.min()), int(y.max()) + 1, int(x.max() - x.min()) + 1


@given(st.floats(1.0, 3.0), st.text("2345678", min_size=1, max_size=5))
@settings(max_examples=20)
def test_a_strip_has_digits_of_one_height(scale: float, text: str) -> None:
    strip = segment(row(text, scale=scale, gap=round(10 * scale))).strip()
    top, bottom, _ = digits_in(strip)
    assert strip.shape[0] == STRIP_HEIGHT
    assert abs(bottom - top - DIGIT_HEIGHT) <= 3
    assert not strip[:, :RIM].any()
    assert not strip[:, -RIM:].any()


def test_a_strip_is_as_wide_as_its_row() -> None:
    plane = np.zeros((40, 200), np.float32)
    plane[:, 10:20] = plane[:, 180:190] = 255
    strip = strip_of(plane)
    assert strip.shape == (STRIP_HEIGHT, 100 + 2 * RIM)
    assert digits_in(strip) == (4, 24, 90)


def test_a_high_row_fits() -> None:
    plane = np.zeros((90, 60), np.float32)
    plane[:30, 5:10] = plane[60:, 40:45] = 255
    top, bottom, _ = digits_in(strip_of(plane))
    assert 0 < top < bottom < STRIP_HEIGHT


def test_a_row_that_is_too_long_has_none() -> None:
    assert strip_of(np.full((20, MAX_STRIP), 255, np.float32)).shape == (STRIP_HEIGHT, 0)


def test_a_blank_page_has_none() -> None:
    assert segment(np.full((60, 200), 255, np.uint8)).strip().shape == (STRIP_HEIGHT, 0)

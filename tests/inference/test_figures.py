from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inference.figures import lean


@given(st.integers(-9, 9), st.integers(1, 3))
def test_a_stroke_leans_by_its_slope_and_its_mirror_image_the_other_way(
    across: int, pen: int
) -> None:
    digit = np.zeros((28, 28), np.uint8)
    cv2.line(digit, (14 - across, 23), (14 + across, 4), 255, pen)
    assert lean(digit) == pytest.approx(2 * across / 19, abs=0.15)
    assert lean(digit[:, ::-1]) == pytest.approx(-lean(digit), abs=1e-9)


@given(st.integers(0, 27), st.integers(0, 28))
def test_what_is_flat_or_blank_does_not_lean(row: int, width: int) -> None:
    digit = np.zeros((28, 28), np.uint8)
    digit[row, :width] = 255
    assert lean(digit) == 0

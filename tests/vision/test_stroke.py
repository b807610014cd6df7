from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.vision.stroke import measure


@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize("degrees", [0, 30, 45, 75, 90])
def test_the_width_of_a_line_is_its_strokes(width: int, degrees: int) -> None:
    """Within what the direction of one line does to it: 4/π at most, either way."""
    large = np.zeros((560, 560), np.uint8)
    step = 180 * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    start, end = ((280 + way * step).round().astype(int).tolist() for way in (-1, 1))
    cv2.line(large, start, end, 255, 20 * width)
    digit = cv2.resize(large, (28, 28), interpolation=cv2.INTER_AREA)
    measured = measure(np.asarray(digit, np.uint8)[None]).stroke[0]
    assert width * 0.65 < measured < width * 1.4


def test_the_share_of_ink() -> None:
    digits = np.zeros((2, 28, 28), np.uint8)
    digits[1, :14] = 255
    assert measure(digits).ink.tolist() == [0, 0.5]
    assert measure(digits).stroke[0] == 0

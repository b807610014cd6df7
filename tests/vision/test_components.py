from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.vision.components import components_of
from app.vision.ink import Mask

MASKS = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30)), elements=st.integers(0, 1)
)


@given(MASKS)
def test_parts_are_numbered_as_by_any_other_algorithm(mask: Mask) -> None:
    found = components_of(mask)
    count, labels, stats, centers = cv2.connectedComponentsWithStats(mask)
    assert found.parts == count - 1
    assert np.array_equal(found.labels, labels)
    assert np.array_equal(found.stats, stats)
    assert np.array_equal(found.centers, centers, equal_nan=True)


@given(MASKS)
def test_the_ink_of_all_parts_is_all_ink(mask: Mask) -> None:
    found = components_of(mask)
    plane = np.arange(mask.size, dtype=np.float32).reshape(mask.shape)
    ink = found.ink(plane)
    assert len(ink) == found.parts + 1
    assert ink[0] == 0
    assert ink.sum() == plane[mask > 0].sum(dtype=np.float64)

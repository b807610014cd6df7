from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.vision.digit import FULL, STRONG, is_bold, usual_level


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.float32]),
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
        elements=st.sampled_from([0, 1, 150, 153, 154, 199, 200, 201, 255]),
    )
)
def test_bold_is_what_is_usually_full(ink: Any) -> None:
    peak = float(ink.max())
    strong = np.sort(ink[ink > STRONG * peak])
    is_so = is_bold(ink, peak)
    assert is_so == (strong.size > 0 and strong[(strong.size - 1) // 2] >= FULL)
    assert usual_level(ink, peak) >= FULL or not is_so

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from app.vision.decode import encode_png
from digits.pictures import half_blocks, read_gray_png
from tests.conftest import Image as Levels

SIZES = st.tuples(st.integers(1, 30), st.integers(1, 30))


@given(arrays(np.uint8, SIZES))
def test_a_picture_is_read_as_it_was_written(levels: Levels) -> None:
    assert read_gray_png(encode_png(levels)) == [row.tobytes() for row in levels]


@pytest.mark.parametrize("method", range(5))
def test_each_filter_is_undone(method: int) -> None:
    """Smooth levels, which OpenCV writes by the filter that it is told."""
    import cv2  # noqa: PLC0415

    y, x = np.mgrid[:28, :28]
    levels = (3 * x + 5 * y + x * y // 7).astype(np.uint8)
    filters = [
        cv2.IMWRITE_PNG_FILTER_NONE,
        cv2.IMWRITE_PNG_FILTER_SUB,
        cv2.IMWRITE_PNG_FILTER_UP,
        cv2.IMWRITE_PNG_FILTER_AVG,
        cv2.IMWRITE_PNG_FILTER_PAETH,
    ]
    options = [cv2.IMWRITE_PNG_FILTER, filters[method], cv2.IMWRITE_PNG_STRATEGY, 0]
    data = cv2.imencode(".png", levels, options)[1].tobytes()
    assert read_gray_png(data) == [row.tobytes() for row in levels]


def test_two_pixels_make_a_character() -> None:
    levels = np.zeros((28, 28), np.uint8)
    levels[2:4, 4:6] = 200
    text = half_blocks(encode_png(levels))
    lines = text.plain.split("\n")
    assert [len(line) for line in lines] == [14] * 7
    assert {*text.plain} == {"▀", "\n"}
    bright = [span for span in text.spans if "c8" in str(span.style)]
    assert [(span.start, span.end) for span in bright] == [(2, 3)]
    assert str(bright[0].style) == "#000000 on #c8c8c8"


def _saved(mode: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (28, 28)).save(file, "PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", _saved("L")[:50], _saved("RGB"), _saved("1"), _saved("I;16")],
    ids=["empty", "gif", "cut", "rgb", "bits", "16"],
)
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="PNG"):
        read_gray_png(data)

import numpy as np
import pytest

from app.vision.box import Box, bounds, cut, enlarged_box, in_pixels, sides, widened, within


def test_the_bounds_of_a_mask_cut_it_out() -> None:
    mask = np.zeros((9, 7), np.uint8)
    mask[2:5, 1:6] = 1
    box = bounds(mask)
    assert box == (1, 2, 6, 5)
    assert sides(box) == (5, 3)
    assert cut(mask, box).all()
    assert cut(mask, box).sum() == mask.sum()


def test_a_mask_of_nothing_has_no_sides() -> None:
    assert sides(bounds(np.zeros((9, 7), np.uint8))) == (0, 0)


@pytest.mark.parametrize(
    ("box", "is_within"),
    [((1, 1, 6, 8), True), ((0, 1, 6, 8), False), ((1, 1, 7, 8), False), ((1, 1, 6, 9), False)],
)
def test_a_box_within_a_picture_touches_no_border(box: Box, *, is_within: bool) -> None:
    assert within(box, (9, 7)) == is_within


def test_a_box_is_widened_as_far_as_the_picture_goes() -> None:
    assert widened((1, 3, 5, 6), 2, (9, 7)) == (0, 1, 7, 8)
    assert widened((0, 0, 7, 9), 2, (9, 7)) == (0, 0, 7, 9)


def test_a_box_of_a_smaller_picture_or_of_a_part_is_one_of_the_whole() -> None:
    assert enlarged_box((1, 2, 3, 4), 1.5) == (2, 3, 4, 6)
    assert in_pixels((1, 2, 3, 4), 10, 20, 3) == (13, 26, 19, 32)

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .test_rules import Mask, bare, three, with_line


def cells(drop: int) -> tuple[Mask, Mask]:
    """A 3 and two 1s, and the field of four cells around them, which falls by `drop`."""
    written, lined = np.zeros((150, 440), np.uint8), np.zeros((150, 440), np.uint8)
    written[10:130, 10:130] = three()
    for x in (176, 265):
        at = 30 + drop * (x - 25) // 390
        cv2.line(written, (x + 4, at + 8), (x, at + 72), 1, 6)
    corners = [(25, 30), (415, 30 + drop), (415, 110 + drop), (25, 110)]
    cv2.polylines(lined, [np.array(corners, np.int32)], True, 1, 2)
    for x in (130, 220, 310):
        at = 30 + drop * (x - 25) // 390
        cv2.line(lined, (x, at), (x, at + 80), 1, 2)
    return written, lined


@pytest.mark.parametrize("drop", [0, 5, 11, 17])
def test_a_field_goes_whole_and_the_ones_in_it_stay(drop: int) -> None:
    written, lined = cells(drop)
    rest, found = bare(written | lined, row=True)
    assert found
    assert (rest & written).sum() > 0.9 * written.sum()
    assert (rest & (1 - written)).sum() < 0.05 * lined.sum()


def test_the_tops_of_a_rows_digits_are_no_rule() -> None:
    written = np.zeros((90, 400), np.uint8)
    for x in (40, 100):
        corners = np.array([(x, 20), (x + 52, 20), (x + 30, 75)], np.int32)
        cv2.polylines(written, [corners], False, 1, 7)
    for x in (220, 300):
        cv2.ellipse(written, (x, 48), (24, 30), 0, 0, 360, 1, 9)
    assert (bare(written, row=True)[0] == written).all()


def test_a_margin_that_ends_at_a_digit_goes() -> None:
    written = np.zeros((140, 300), np.uint8)
    for x in (90, 160, 230):
        cv2.ellipse(written, (x, 60), (22, 34), 0, 0, 360, 1, 8)
    rest, _ = bare(with_line(written, (90, 94), (90, 139), 1), row=True)
    assert not rest[110:].any()
    assert (rest & written).sum() > 0.97 * written.sum()


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("thickness", [2, 5])
@pytest.mark.parametrize("over", [False, True], ids=["under", "over"])
def test_a_line_under_or_over_a_row_goes(count: int, thickness: int, over: bool) -> None:
    written = np.zeros((120, 60 * count + 60), np.uint8)
    for digit in range(count):
        cv2.ellipse(written, (60 + 60 * digit, 45), (18, 27), 0, 0, 360, 1, 8)
    lined = with_line(written, (36, 92), (written.shape[1] - 36, 95), thickness)
    rest, found = bare(np.ascontiguousarray(lined[::-1]) if over else lined, row=True)
    assert found
    assert np.array_equal(rest, written[::-1] if over else written)


def test_the_joined_feet_of_two_digits_are_no_line_under_them() -> None:
    written = np.zeros((120, 220), np.uint8)
    for x in (40, 110):
        points = np.array([(x, 30), (x + 40, 24), (x + 44, 50), (x, 95), (x + 70, 95)], np.int32)
        cv2.polylines(written, [points], False, 1, 6)
    assert np.array_equal(bare(written, row=True)[0], written)


def test_the_teeth_of_a_comb_go_with_it() -> None:
    written, lined = np.zeros((120, 300), np.uint8), np.zeros((120, 300), np.uint8)
    for x in (70, 130, 230):
        cv2.ellipse(written, (x, 55), (18, 30), 0, 0, 360, 1, 7)
    cv2.line(written, (180, 26), (180, 85), 1, 7)
    cv2.line(lined, (40, 100), (260, 100), 1, 2)
    for x in range(40, 270, 55):
        cv2.line(lined, (x, 80), (x, 100), 1, 2)
    rest, found = bare(written | lined, row=True)
    assert found
    assert np.array_equal(rest, written)


@pytest.mark.parametrize("margin", [0, 2, 4])
def test_the_ones_of_a_row_without_margin_stay(margin: int) -> None:
    written = np.zeros((60, 230), np.uint8)
    for x in (5, 115, 224):
        cv2.line(written, (x, 2), (x, 57), 1, 5)
    for x in (60, 170):
        cv2.ellipse(written, (x, 30), (20, 27), 0, 0, 360, 1, 5)
    tight = np.pad(written, margin)
    assert np.array_equal(bare(tight, row=True)[0], tight)


def test_a_thin_margin_beside_a_row_without_margin_goes() -> None:
    written = np.zeros((60, 200), np.uint8)
    for x in (60, 130):
        cv2.ellipse(written, (x, 30), (20, 27), 0, 0, 360, 1, 7)
    rest, found = bare(with_line(written, (20, 0), (20, 59), 1), row=True)
    assert found
    assert np.array_equal(rest, written)


@given(st.integers(2, 6), st.integers(1, 3), st.integers(14, 20), st.integers(-5, 5))
@settings(max_examples=25)
def test_a_comb_goes_though_digits_touch_its_teeth_and_its_line(
    cells: int, thickness: int, height: int, aside: int
) -> None:
    written = np.zeros((130, 60 * cells + 60), np.uint8)
    combed = np.zeros_like(written)
    for cell in range(cells):
        middle = 60 + 60 * cell + (aside if cell % 2 else -aside), 68
        cv2.ellipse(written, middle, (20, 32), 0, 0, 360, 1, 7)
    cv2.line(combed, (30, 105), (30 + 60 * cells, 105), 1, thickness)
    for at in range(30, 31 + 60 * cells, 60):
        cv2.line(combed, (at, 105 - height), (at, 105), 1, thickness)
    rest, found = bare(written | combed, row=True)
    assert found
    assert (rest & written).sum() > 0.95 * written.sum()
    assert (rest & (1 - written)).sum() < 0.5 * combed.sum()

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.vision.candidates import MAX_CANDIDATES, MAX_SPAN
from app.vision.grayscale import GrayImage
from app.vision.normalize import normalize
from app.vision.parts import MAX_CUTS
from app.vision.segment import SegmentedRow, segment
from tests.vision.test_normalize import ink


def row(digits: str, *, side: int = 60, apart: int = 0) -> GrayImage:
    """Digits side by side, white on black, in frames that are `apart`."""
    return np.pad(
        np.concatenate([np.pad(ink(int(d), side), (0, apart)) for d in digits], axis=1), 9
    )


def complete(found: SegmentedRow) -> bool:
    """Whether candidates lead from the first cut to the last."""
    reached = {0}
    for start, stop in sorted(map(tuple, found.candidates.spans.tolist())):
        if start in reached:
            reached.add(stop)
    return found.cuts - 1 in reached


@pytest.mark.parametrize("inverted", [False, True])
def test_digits_that_stand_apart_are_candidates(inverted: bool) -> None:
    picture = row("2347", apart=12)
    found = segment(255 - picture if inverted else picture)
    assert found.inverted is inverted
    singles = [normalize(ink(digit, 60)).digit for digit in (2, 3, 4, 7)]
    for single in singles:
        close = np.abs(found.candidates.digits.astype(int) - single).mean(axis=(1, 2))
        assert close.min() < 12
    assert not found.several_lines


def test_touching_digits_have_a_cut_between_them() -> None:
    left, right = ink(3, 60), ink(2, 60)
    picture = np.zeros((80, 120), np.uint8)
    picture[10:70, 10:70] = left
    part = picture[10:70, 44:104]
    np.maximum(part, right, out=part)
    found = segment(picture)
    assert found.cuts > 2
    assert complete(found)


@pytest.mark.parametrize("squared", [False, True], ids=["ruled", "squared"])
def test_a_lined_page_without_writing_is_blank(squared: bool) -> None:
    page = np.full((300, 300), 248, np.uint8)
    for at in range(20, 300, 40):
        page[at : at + 2] = 150
        if squared:
            page[:, at : at + 2] = 150
    assert segment(page).box is None
    assert normalize(page).box is None


@pytest.mark.parametrize("at", [20, 110], ids=["first", "between"])
def test_a_1_as_thin_as_a_hair_is_a_candidate(at: int) -> None:
    image = np.full((120, 240), 255, np.uint8)
    for x in (70, 150):
        image[30:90, x : x + 60] = 255 - ink(3, 60)
    cv2.ellipse(image, (at, 60), (6, 27), 0, -70, 70, 0, 1, cv2.LINE_AA)
    boxes = segment(image).candidates.boxes
    assert any(at - 4 <= left and right <= at + 12 for left, _, right, _ in boxes)


def test_boxes_are_where_the_digits_are() -> None:
    picture = np.zeros((200, 500), np.uint8)
    picture[60:120, 100:160], picture[60:120, 300:360] = ink(2, 60), ink(7, 60)
    found = segment(picture)
    left, top, right, bottom = found.box or (0, 0, 0, 0)
    assert 100 <= left < 130
    assert 300 < right <= 361
    assert 60 <= top < bottom <= 121


def test_a_slanting_row_is_leveled() -> None:
    picture = np.zeros((260, 420), np.uint8)
    for place, digit in enumerate((2, 3, 4, 7)):
        part = picture[40 + 18 * place :, 20 + 90 * place :][:60, :60]
        np.maximum(part, ink(digit, 60), out=part)
    found = segment(picture)
    singles = found.candidates.spans[:, 1] - found.candidates.spans[:, 0] == 1
    assert np.abs(found.candidates.shapes[singles, 2]).max() < 0.6
    assert found.box is not None
    assert found.box[3] - found.box[1] > 80


def test_a_field_of_boxes_is_taken_away() -> None:
    picture = row("2347", side=60, apart=20)
    height, width = picture.shape
    framed = np.pad(picture, 20)
    cv2.rectangle(framed, (14, 14), (width + 26, height + 26), 255, 2)
    for place in range(1, 4):
        x = 20 + place * (width - 18) // 4
        cv2.line(framed, (x, 14), (x, height + 26), 255, 2)
    plain, boxed = segment(picture), segment(framed)
    assert boxed.box is not None
    assert plain.box is not None
    assert abs((boxed.box[2] - boxed.box[0]) - (plain.box[2] - plain.box[0])) < 12


def test_two_rows_of_a_kind_are_several_lines() -> None:
    one = row("2347", apart=12)
    assert segment(np.concatenate((one, one))).several_lines


def test_a_row_stands_out_beside_a_smaller_one() -> None:
    large, small = row("2347", apart=12), row("22", side=20)
    wide = np.zeros((small.shape[0], large.shape[1]), np.uint8)
    wide[:, : small.shape[1]] = small
    found = segment(np.concatenate((large, np.zeros_like(large)[:30], wide)))
    assert not found.several_lines
    assert found.box is not None
    assert found.box[3] <= large.shape[0]


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_even_picture_is_blank(level: int) -> None:
    found = segment(np.full((40, 100), level, np.uint8))
    assert found.box is None
    assert len(found.candidates.spans) == 0


def test_a_row_is_scaled_with_its_picture() -> None:
    found = segment(row("23", apart=12))
    double = found.scaled(2.0)
    assert double.box == tuple(2 * edge for edge in found.box or ())
    assert np.array_equal(double.candidates.boxes, 2 * found.candidates.boxes)
    assert found.scaled(1.0) is found


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 90), st.integers(1, 400))),
    st.booleans(),
)
@settings(max_examples=40)
def test_whatever_comes_is_bounded(noise: GrayImage, smooth: bool) -> None:
    picture = cv2.blur(noise, (5, 5)).reshape(noise.shape) if smooth else noise
    found = segment(np.asarray(picture, np.uint8))
    candidates = found.candidates
    height, width = noise.shape
    assert len(candidates.spans) <= MAX_CANDIDATES
    assert found.cuts <= MAX_CUTS + 1
    assert np.isfinite(candidates.shapes).all()
    if not len(candidates.spans):
        return
    assert (np.diff(candidates.spans, axis=1) >= 1).all()
    assert (np.diff(candidates.spans, axis=1) <= MAX_SPAN).all()
    assert (candidates.boxes[:, :2] >= 0).all()
    assert (candidates.boxes[:, 2] <= width).all()
    assert (candidates.boxes[:, 3] <= height).all()
    assert (candidates.boxes[:, :2] <= candidates.boxes[:, 2:]).all()


@pytest.mark.parametrize("seed", range(4))
def test_no_box_leaves_a_picture_that_is_thinner_than_its_reduction(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (2000, 1)).astype(np.uint8)
    row = segment(noise)
    assert row.box is not None
    assert row.box[2] <= 1
    assert row.box[3] <= 2000
    assert (row.candidates.boxes[:, 2] <= 1).all()

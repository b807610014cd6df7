import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.vision.grayscale import GrayImage
from app.vision.normalize import normalize

STROKES = {
    1: [[(0.5, 0.1), (0.5, 0.9)]],
    2: [[(0.2, 0.25), (0.4, 0.1), (0.7, 0.2), (0.7, 0.4), (0.2, 0.9), (0.8, 0.88)]],
    3: [[(0.2, 0.15), (0.6, 0.1), (0.7, 0.3), (0.4, 0.45), (0.75, 0.65), (0.6, 0.9), (0.2, 0.85)]],
    4: [[(0.5, 0.1), (0.2, 0.55), (0.85, 0.55)], [(0.65, 0.3), (0.6, 0.9)]],
    7: [[(0.2, 0.12), (0.8, 0.1), (0.45, 0.9)]],
}
digits = pytest.mark.parametrize("digit", STROKES)


def ink(digit: int, side: int = 120, width: float = 0.09) -> GrayImage:
    """A digit in white strokes on black, [side, side], its edges smooth."""
    fine = np.zeros((side * 4, side * 4), np.uint8)
    for stroke in STROKES[digit]:
        points = np.rint(np.array(stroke) * side * 4).astype(np.int32)
        cv2.polylines(fine, [points], False, 255, max(1, round(width * side * 4)))
    return np.asarray(cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def normalized(gray: GrayImage) -> GrayImage:
    return normalize(np.ascontiguousarray(gray)).digit


def alike(one: GrayImage, other: GrayImage) -> float:
    """Correlation of two digits after a slight blur, which forgives a shift by part of a pixel."""
    a, b = (cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1).ravel() for image in (one, other))
    return float(np.corrcoef(a, b)[0, 1])


def page(digit: int, side: int = 120, **options: Any) -> GrayImage:
    """Dark ink on a light page, with a margin all around."""
    margin = side // 3
    return 235 - np.pad((ink(digit, side, **options) * 0.8).astype(np.uint8), margin)


@digits
def test_a_digit_fills_20_pixels_and_its_mass_is_in_the_middle(digit: int) -> None:
    image = normalized(ink(digit))
    left, top, width, height = cv2.boundingRect(image)
    assert max(width, height) == 20
    mass = cv2.moments(image.astype(np.float32))
    assert abs(mass["m10"] / mass["m00"] + 0.5 - 14.5) <= 0.5
    assert abs(mass["m01"] / mass["m00"] + 0.5 - 14.5) <= 0.5
    assert 0 <= left <= 28 - width
    assert 0 <= top <= 28 - height
    assert image.max() > 200


@digits
def test_its_own_output_stays_as_it_is(digit: int) -> None:
    image = normalized(page(digit))
    assert np.array_equal(normalized(image), image)


@settings(max_examples=25)
@given(
    digit=st.sampled_from(list(STROKES)),
    left=st.integers(0, 60),
    top=st.integers(0, 60),
    right=st.integers(0, 60),
    bottom=st.integers(0, 60),
)
def test_shift_and_padding_change_nothing(
    digit: int, left: int, top: int, right: int, bottom: int
) -> None:
    image = ink(digit, 60)
    moved = np.pad(image, ((top + 1, bottom + 1), (left + 1, right + 1)))
    assert np.array_equal(normalized(moved), normalized(np.pad(image, 1)))


@settings(max_examples=15)
@given(digit=st.sampled_from(list(STROKES)), factor=st.integers(2, 8))
def test_whole_scaling_changes_nothing(digit: int, factor: int) -> None:
    image = ink(digit, 50)
    larger = np.kron(image, np.ones((factor, factor), np.uint8))
    assert np.abs(normalized(larger).astype(int) - normalized(image)).max() <= 2


@settings(max_examples=15)
@given(digit=st.sampled_from(list(STROKES)), margin=st.integers(1, 40))
def test_inversion_changes_only_the_word_for_it(digit: int, margin: int) -> None:
    image = np.pad(ink(digit, 70), margin)
    bright, dark = normalize(image), normalize(255 - image)
    assert np.array_equal(bright.digit, dark.digit)
    assert bright.box == dark.box
    assert (bright.inverted, dark.inverted) == (False, True)


@settings(max_examples=150)
@given(
    gray=arrays.arrays(
        np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70)
    )
)
def test_any_pixels_come_out_as_a_digit_or_blank(gray: GrayImage) -> None:
    result = normalize(gray)
    assert result.digit.shape == (28, 28)
    assert result.digit.dtype == np.uint8
    if result.box is None:
        assert not result.digit.any()
    else:
        left, top, right, bottom = result.box
        assert 0 <= left < right <= gray.shape[1]
        assert 0 <= top < bottom <= gray.shape[0]
        assert np.array_equal(normalized(result.digit), result.digit)


@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (300, 200), (1, 500)])
def test_an_even_picture_is_blank(level: int, shape: tuple[int, int]) -> None:
    result = normalize(np.full(shape, level, np.uint8))
    assert result.box is None
    assert not result.digit.any()


def test_paper_without_ink_is_blank() -> None:
    noise = np.random.default_rng(0).normal(0, 2, (200, 200))
    shade = np.linspace(200, 150, 200)
    assert normalize((shade + noise).astype(np.uint8)).box is None


@digits
@pytest.mark.parametrize("bright", [False, True], ids=["pen", "chalk"])
def test_ink_is_found_on_a_page(digit: int, bright: bool) -> None:
    paper = 255 - page(digit) if bright else page(digit)
    result = normalize(paper)
    assert result.inverted is not bright
    assert alike(result.digit, normalized(ink(digit))) > 0.97


@digits
def test_the_box_is_where_the_ink_is(digit: int) -> None:
    image = page(digit)
    box = normalize(image).box
    assert box is not None
    dark = cv2.boundingRect((image < 140).astype(np.uint8))
    expected = (dark[0], dark[1], dark[0] + dark[2], dark[1] + dark[3])
    assert np.abs(np.subtract(box, expected)).max() <= 3


@digits
def test_light_from_one_side_and_a_shadow_change_little(digit: int) -> None:
    image = page(digit).astype(np.float32)
    height, width = image.shape
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    light = (1 - 0.5 * x) * np.where(x + y < 0.55, 0.6, 1.0)
    assert alike(normalized((image * light).astype(np.uint8)), normalized(ink(digit))) > 0.93


@digits
def test_noise_changes_little(digit: int) -> None:
    noise = np.random.default_rng(digit).normal(0, 12, page(digit).shape)
    noisy = (page(digit) + noise).clip(0, 255).astype(np.uint8)
    assert alike(normalized(noisy), normalized(ink(digit))) > 0.95


def framed(digit: int, *, width: int = 3, tilt: float = 0.0) -> GrayImage:
    image = page(digit)
    side = image.shape[0]
    near, far = side // 8, side - side // 8
    corners = np.array([(near, near), (far, near), (far, far), (near, far)], np.float32)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), tilt, 1)
    points = np.rint(corners @ turn[:, :2].T + turn[:, 2]).astype(np.int32)
    cv2.polylines(image, [points], True, 60, width, cv2.LINE_AA)
    return image


@digits
@pytest.mark.parametrize("width", [1, 3, 6])
@pytest.mark.parametrize("tilt", [0.0, 4.0])
def test_a_form_box_is_taken_away(digit: int, width: int, tilt: float) -> None:
    result = normalize(framed(digit, width=width, tilt=tilt))
    assert result.warnings == ("frame-removed",)
    assert alike(result.digit, normalized(ink(digit))) > 0.95


@digits
def test_rules_that_cross_the_digit_are_taken_away(digit: int) -> None:
    image = page(digit)
    for row in range(20, image.shape[0], 47):
        cv2.line(image, (0, row), (image.shape[1], row + 6), 90, 2, cv2.LINE_AA)
    result = normalize(image)
    assert result.warnings == ("frame-removed",)
    assert alike(result.digit, normalized(ink(digit))) > 0.88


@digits
@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (1, 6), (2, 2), (4, 6)])
def test_the_digit_in_a_tables_cell_is_read(digit: int, rows: int, columns: int) -> None:
    cell = 80
    table = np.full((rows * cell + 40, columns * cell + 40), 235, np.uint8)
    for row in range(rows + 1):
        cv2.line(table, (20, 20 + row * cell), (20 + columns * cell, 20 + row * cell), 60, 2)
    for column in range(columns + 1):
        cv2.line(table, (20 + column * cell, 20), (20 + column * cell, 20 + rows * cell), 60, 2)
    side = 60
    left = 20 + (columns - 1) * cell + (cell - side) // 2
    written = (ink(digit, side, 0.11) * 0.8).astype(np.uint8)
    window = table[30 : 30 + side, left : left + side]
    np.minimum(window, 235 - written, out=window)
    result = normalize(table)
    assert result.warnings == ("frame-removed",)
    assert result.apart == ()
    assert alike(result.digit, normalized(ink(digit, width=0.11))) > 0.85


@digits
@pytest.mark.parametrize("squared", [False, True], ids=["ruled", "squared"])
def test_a_digit_of_a_fifth_of_a_lined_page_is_read(digit: int, squared: bool) -> None:
    image = np.full((400, 400), 235, np.uint8)
    for at in range(30, 400, 50):
        cv2.line(image, (0, at), (399, at), 150, 3)
        if squared:
            cv2.line(image, (at, 0), (at, 399), 150, 3)
    side = 400 // 5
    written = (ink(digit, side) * 0.8).astype(np.uint8)
    window = image[160 : 160 + side, 190 : 190 + side]
    np.minimum(window, 235 - written, out=window)
    result = normalize(image)
    assert result.warnings == ("frame-removed",)
    assert alike(result.digit, normalized(ink(digit))) > 0.85


@pytest.mark.parametrize("shape", [(40, 900), (900, 40), (120, 400)])
def test_a_narrow_picture_keeps_its_digit(shape: tuple[int, int]) -> None:
    side = min(shape) * 3 // 4
    image = np.zeros(shape, np.uint8)
    image[side // 6 : side // 6 + side, side // 6 : side // 6 + side] = ink(3, side)
    assert alike(normalized(image), normalized(np.pad(ink(3, side), side // 6))) > 0.97


def test_straight_strokes_are_no_rules() -> None:
    for digit in STROKES:
        assert normalize(page(digit)).warnings == ()


@digits
def test_specks_are_passed_over(digit: int) -> None:
    image = page(digit)
    rng = np.random.default_rng(digit)
    for x, y in rng.integers(3, image.shape[0] - 3, (12, 2)):
        if image[max(0, y - 15) : y + 15, max(0, x - 15) : x + 15].min() > 200:
            cv2.circle(image, (int(x), int(y)), 1, 40, -1)
    assert alike(normalized(image), normalized(ink(digit))) > 0.97


@digits
def test_what_hangs_in_from_the_border_is_somebody_elses(digit: int) -> None:
    image = page(digit)
    image[50:120, :9] = 40
    image[-6:, 30:90] = 40
    assert alike(normalized(image), normalized(ink(digit))) > 0.97


def test_two_digits_are_not_made_one() -> None:
    both = np.hstack([page(2)[:, :-30], page(7)[:, 30:]])
    left, _, right, _ = normalize(both).box or (0, 0, 0, 0)
    assert right - left > 120


@digits
def test_a_hairline_is_made_visible(digit: int) -> None:
    image = normalized(ink(digit, 300, width=0.006))
    assert alike(image, normalized(ink(digit, 300))) > 0.75
    assert np.sort(image.ravel())[-20:].mean() > 180


@digits
def test_a_small_digit_in_a_large_picture_loses_nothing(digit: int) -> None:
    image = np.full((900, 1200), 220, np.uint8)
    image[700:760, 1000:1060] -= (ink(digit, 60) * 0.7).astype(np.uint8)
    assert alike(normalized(image), normalized(ink(digit))) > 0.96


@pytest.mark.parametrize("digit", STROKES.keys() - {1})  # of a 1, nothing but ink would be left
def test_a_digit_cut_by_the_border_is_still_the_digit(digit: int) -> None:
    image = 255 - ink(digit)
    left, top, width, height = cv2.boundingRect(ink(digit))
    cut = image[top : top + height, left : left + width]
    assert alike(normalized(cut), normalized(ink(digit))) > 0.95


def test_ink_at_the_edge_and_little_contrast_are_told() -> None:
    image = ink(3)[9:]
    assert normalize(255 - ink(3)[cv2.boundingRect(ink(3))[1] :]).warnings == ("touches-edge",)
    assert normalize(200 - np.pad(image // 6, 20)).warnings == ("low-contrast",)


@pytest.mark.parametrize(("height", "width"), [(50, 50), (10, 100), (100, 10), (100, 3)])
def test_a_bar_that_fills_its_box_has_a_width(height: int, width: int) -> None:
    page = np.full((200, 200), 255, np.uint8)
    page[40 : 40 + height, 60 : 60 + width] = 0
    bar = normalize(page)
    assert bar.box == (60, 40, 60 + width, 40 + height)
    assert bar.digit.max() > 200


@pytest.fixture(scope="module")
def mnist() -> GrayImage:
    path = Path(os.environ.get("DIGITS_DATA", "missing"))
    if not path.is_file():
        pytest.skip("DIGITS_DATA names no local mnist.npz")
    with np.load(path) as data:
        return np.asarray(data["x_train"][:2000])


def test_what_mnist_made_stays_as_it_is(mnist: GrayImage) -> None:
    same = [np.array_equal(normalized(digit), digit) for digit in mnist]
    assert np.mean(same) > 0.998


@pytest.mark.parametrize("seed", range(3))
def test_no_box_leaves_a_picture_that_is_thinner_than_its_reduction(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (2000, 1)).astype(np.uint8)
    found = normalize(noise)
    boxes = [found.box, *(part.box for part in found.apart)]
    assert all(box and box[2] == 1 and box[3] <= 2000 for box in boxes)

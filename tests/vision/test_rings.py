import cv2
import numpy as np
import pytest

from app.vision.components import components_of
from app.vision.grayscale import GrayImage
from app.vision.ink import Mask
from app.vision.normalize import normalize
from app.vision.rings import without_ring, without_touched_ring
from app.vision.segment import segment

from .test_normalize import STROKES, alike, digits, ink, normalized

SIDE = 240


def blank() -> GrayImage:
    return np.zeros((SIDE, SIDE), np.uint8)


def ring(width: int = 100, height: int = 100, *, gap: int = 0, thickness: int = 6) -> GrayImage:
    """An ellipse of these half axes in the middle, open by `gap` degrees."""
    image = blank()
    middle = (SIDE // 2, SIDE // 2)
    cv2.ellipse(image, middle, (width, height), 0, 40, 400 - gap, 255, thickness, cv2.LINE_AA)
    return image


def inside(digit: int, side: int) -> GrayImage:
    """A digit in the middle."""
    image = blank()
    start = (SIDE - side) // 2
    image[start : start + side, start : start + side] = ink(digit, side)
    return image


def left(image: GrayImage) -> GrayImage:
    """The strokes that stay, 0 or 1."""
    return ringless((image > 100).view(np.uint8), image)


def ringless(strokes: Mask, image: GrayImage) -> Mask:
    """What stays of `strokes`."""
    return without_ring(strokes, components_of(strokes), image)[0]


@digits
@pytest.mark.parametrize("side", [84, 96, 120])
@pytest.mark.parametrize("gap", [0, 25, 60], ids=["closed", "open", "wide open"])
def test_a_digit_is_read_in_a_ring(digit: int, side: int, gap: int) -> None:
    result = normalize(255 - np.maximum(ring(gap=gap), inside(digit, side)))
    assert result.warnings == ("frame-removed",)
    assert result.apart == ()
    assert alike(result.digit, normalized(inside(digit, side))) > 0.9


@pytest.mark.parametrize("digit", [2, 3, 4, 7])
@pytest.mark.parametrize("side", [36, 60])
def test_a_small_digit_is_read_in_a_ring(digit: int, side: int) -> None:
    result = normalize(255 - np.maximum(ring(), inside(digit, side)))
    assert alike(result.digit, normalized(inside(digit, side))) > 0.9


@pytest.mark.parametrize(
    ("start", "end"),
    [((120, 105), (120, 135)), ((100, 120), (140, 120)), ((112, 128), (128, 112))],
    ids=["tick", "dash", "short slash"],
)
@pytest.mark.parametrize("width", [70, 100], ids=["narrow", "wide"])
def test_a_0_keeps_a_mark(start: tuple[int, int], end: tuple[int, int], width: int) -> None:
    zero = ring(width)
    cv2.line(zero, start, end, 255, 5, cv2.LINE_AA)
    assert np.array_equal(left(zero), zero > 100)
    assert normalize(zero).apart == ()


@digits
def test_a_digit_is_read_in_a_ring_in_a_ring(digit: int) -> None:
    both = np.maximum(ring(), ring(80, 80))
    result = normalize(255 - np.maximum(both, inside(digit, 90)))
    assert alike(result.digit, normalized(inside(digit, 90))) > 0.9


@pytest.mark.parametrize("slant", [0, 25, 40])
def test_a_slanted_1_is_read_in_a_ring(slant: int) -> None:
    one = blank()
    cv2.line(one, (120 + slant, 75), (120 - slant, 165), 255, 8, cv2.LINE_AA)
    assert np.array_equal(left(np.maximum(ring(), one)), one > 100)


def test_a_number_is_read_in_a_ring() -> None:
    written = blank()
    for x in (84, 128):
        written[90:150, x - 30 : x + 30] = np.maximum(written[90:150, x - 30 : x + 30], ink(3, 60))
    found = segment(255 - np.maximum(ring(112, 80), written))
    alone = segment(255 - written)
    assert found.box is not None
    assert alone.box is not None
    assert np.abs(np.subtract(found.box, alone.box)).max() <= 4


def test_a_face_is_no_0() -> None:
    face = ring()
    for x in (85, 155):
        cv2.circle(face, (x, 95), 9, 255, -1)
    cv2.ellipse(face, (120, 130), (48, 40), 0, 20, 160, 255, 6)
    assert not left(face)[:40].any()


@pytest.mark.parametrize("start", [(90, 150), (150, 150)], ids=["slash", "backslash"])
def test_a_0_keeps_its_slash_and_is_one_digit(start: tuple[int, int]) -> None:
    zero = ring(70, 100)
    cv2.line(zero, start, (SIDE - start[0], SIDE - start[1]), 255, 7, cv2.LINE_AA)
    assert np.array_equal(left(zero), zero > 100)
    assert normalize(zero).apart == ()


def test_a_0_keeps_its_dot() -> None:
    zero = ring(70, 100)
    cv2.circle(zero, (120, 120), 10, 255, -1)
    assert np.array_equal(left(zero), zero > 100)


def test_a_0_stays_around_a_fainter_shade() -> None:
    zero = ring()
    image = np.maximum(zero, inside(1, 120) // 2)
    strokes = np.maximum(zero > 100, inside(1, 120) > 100).view(np.uint8)
    assert np.array_equal(ringless(strokes, image), strokes)


def test_a_hollow_6_is_no_ring() -> None:
    six = blank()
    cv2.circle(six, (120, 160), 45, 255, 22)
    cv2.polylines(six, [np.array([(80, 150), (95, 90), (140, 30)], np.int32)], False, 255, 22)
    hollow = cv2.subtract(six, cv2.erode(six, np.ones((7, 7), np.uint8)))
    assert np.array_equal(left(np.asarray(hollow, np.uint8)), hollow > 100)


@pytest.mark.parametrize(("gap", "count"), [(10, 0), (70, 2)], ids=["eight", "two"])
def test_two_circles_close_above_each_other_are_an_8(gap: int, count: int) -> None:
    image = np.zeros((360, 240), np.uint8)
    cv2.ellipse(image, (120, 90), (50, 55), 0, 0, 360, 255, 9)
    cv2.ellipse(image, (120, 90 + 110 + 9 + gap), (55, 55), 0, 0, 360, 255, 9)
    assert len(normalize(image).apart) == count


def touched_ring(strokes: GrayImage, thickness: int) -> GrayImage:
    """A ring around the middle that is as large as the strokes reach."""
    image = blank()
    away = np.argwhere(strokes > 100) - SIDE // 2
    reach = round(float(np.hypot(*away.T).max()))
    cv2.circle(image, (SIDE // 2, SIDE // 2), reach, 255, thickness, cv2.LINE_AA)
    return image


no_ones = pytest.mark.parametrize("digit", sorted({*STROKES} - {1}))


@no_ones
@pytest.mark.parametrize("side", [100, 140])
@pytest.mark.parametrize("thickness", [3, 6])
def test_a_digit_that_touches_its_ring_is_read(digit: int, side: int, thickness: int) -> None:
    strokes = inside(digit, side)
    result = normalize(255 - np.maximum(touched_ring(strokes, thickness), strokes))
    assert result.warnings == ("frame-removed",)
    assert alike(result.digit, normalized(strokes)) > 0.8


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("thickness", [4, 10, 20])
def test_a_0_keeps_a_curl_that_ends_in_it_or_a_slash_that_touches_it(
    width: int, thickness: int
) -> None:
    for start, end in (((120, 20), (120, 60)), ((120 - width, 200), (120 + width, 40))):
        zero = ring(width, thickness=thickness)
        cv2.line(zero, start, end, 255, thickness)
        strokes = (zero > 100).view(np.uint8)
        assert without_touched_ring(strokes)[0] is strokes


@pytest.mark.parametrize("degrees", [45, 56, 65, 75, 90])
@pytest.mark.parametrize("width", [60, 80, 95])
@pytest.mark.parametrize("turns", [1.0, 1.15])
def test_a_0_keeps_its_slash_however_steep_it_is_and_its_ends_overlap(
    degrees: float, width: int, turns: float
) -> None:
    turn = np.linspace(0, 2 * np.pi * turns, 200)
    reach = np.interp(turn, [0, 2 * np.pi, 8], [100, 100, 92])
    steps = np.column_stack([width / 100 * np.cos(turn), np.sin(turn)]) * reach[:, None]
    zero = blank()
    cv2.polylines(zero, [np.asarray(steps + SIDE / 2, np.int32)], False, 255, 7)
    across, up = width * np.cos(np.deg2rad(degrees)), 100 * np.sin(np.deg2rad(degrees))
    start, end = ((int(SIDE / 2 + s * across), int(SIDE / 2 - s * up)) for s in (-1, 1))
    cv2.line(zero, start, end, 255, 7)
    strokes = (zero > 100).view(np.uint8)
    assert without_touched_ring(strokes)[0] is strokes


@pytest.mark.parametrize("turns", [1.4, 1.7])
@pytest.mark.parametrize("reach", [0.1, 0.3])
@pytest.mark.parametrize("begins", range(4))
def test_a_0_keeps_the_end_that_curls_into_its_middle(
    turns: float, reach: float, begins: int
) -> None:
    turn = np.linspace(0, 2 * np.pi * turns, 300)
    away = 100 * np.interp(turn, [2 * np.pi, 2 * np.pi * turns], [1, reach])
    steps = np.column_stack([0.85 * np.cos(turn + begins), np.sin(turn + begins)]) * away[:, None]
    zero = blank()
    cv2.polylines(zero, [np.asarray(steps + SIDE / 2, np.int32)], False, 255, 7)
    strokes = (zero > 100).view(np.uint8)
    assert without_touched_ring(strokes)[0] is strokes


@no_ones
def test_what_is_beside_a_touched_ring_stays(digit: int) -> None:
    strokes = inside(digit, 100)
    both = np.maximum(touched_ring(strokes, 4), strokes)
    both[:40, :40] = 255
    rest, ringed = without_touched_ring((both > 100).view(np.uint8))
    assert ringed
    assert rest[:40, :40].all()

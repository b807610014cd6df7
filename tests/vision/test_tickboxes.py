import cv2
import numpy as np
import pytest

from app.vision.grayscale import GrayImage
from app.vision.normalize import normalize
from app.vision.tickboxes import without_boxes

from .test_normalize import alike, digits, ink, normalized

HEIGHT, WIDTH = 160, 320


def page(digit: int) -> GrayImage:
    """A digit, white on black, with room to its left."""
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    image[30:130, 130:230] = ink(digit, 100)
    return image


def box(side: int, *, width: int = 2, ticked: bool = False) -> GrayImage:
    """A box to tick, white on black."""
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    half = side // 2
    cv2.rectangle(image, (90 - half, 80 - half), (90 + half, 80 + half), 255, width)
    if ticked:
        near = half - 5
        cv2.line(image, (90 - near, 80 - near), (90 + near, 80 + near), 255, 2)
        cv2.line(image, (90 - near, 80 + near), (90 + near, 80 - near), 255, 2)
    return image


@digits
@pytest.mark.parametrize("side", [30, 45])
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("ticked", [False, True], ids=["empty", "ticked"])
def test_a_digit_beside_a_box_is_read(digit: int, side: int, width: int, ticked: bool) -> None:
    beside = box(side, width=width, ticked=ticked)
    result = normalize(255 - np.maximum(page(digit), beside))
    assert result.apart == ()
    assert "frame-removed" in result.warnings
    assert alike(result.digit, normalized(page(digit))) > 0.95


@digits
@pytest.mark.parametrize("side", [24, 45])
@pytest.mark.parametrize("degrees", [-6, -3, 4, 8])
def test_a_digit_beside_a_turned_box_is_read(digit: int, side: int, degrees: float) -> None:
    image = page(digit)
    corners = cv2.boxPoints(((70.4, 80.3), (side, side), degrees))
    cv2.polylines(image, [np.rint(corners * 16).astype(np.int32)], True, 255, 2, cv2.LINE_AA, 4)
    result = normalize(255 - image)
    assert result.apart == ()
    assert alike(result.digit, normalized(page(digit))) > 0.95


@digits
def test_a_large_box_a_round_one_and_a_full_one_stay(digit: int) -> None:
    disc, full = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    cv2.circle(disc, (90, 80), 22, 255, 3)
    full[60:100, 70:110] = 255
    for beside in (disc, full, box(78)):
        strokes = (np.maximum(page(digit), beside) > 100).view(np.uint8)
        rest, boxed = without_boxes(strokes)
        assert not boxed
        assert (rest == strokes).all()

import cv2
import numpy as np
import pytest

from app.vision.grayscale import GrayImage
from app.vision.normalize import normalize
from app.vision.panel import find_panel

from .test_normalize import alike, digits, ink, normalized

HEIGHT, WIDTH = 480, 320
LEFT, TOP, SIDE = 50, 90, 220


def screenshot(
    *, page: int, canvas: int, frame: int, drawn: GrayImage, pen: int, width: int = 2
) -> GrayImage:
    """A page with a title, a canvas that something is drawn on, and two buttons with words.

    Args:
        page: The page's level.
        canvas: The canvas's level.
        frame: Its frame's level.
        drawn: What is drawn, white on black, no larger than the canvas.
        pen: Its level.
        width: The frame's width.
    """
    image = np.full((HEIGHT, WIDTH), page, np.uint8)
    cv2.rectangle(image, (0, 0), (WIDTH, 44), 90, -1)
    cv2.putText(image, "Digit recogniser", (12, 30), 0, 0.8, 250, 2, cv2.LINE_AA)
    ends = (LEFT, TOP), (LEFT + SIDE, TOP + SIDE)
    cv2.rectangle(image, *ends, canvas, -1)
    cv2.rectangle(image, *ends, frame, width)
    for left, word in ((30, "Clear"), (170, "Predict")):
        cv2.rectangle(image, (left, 350), (left + 120, 392), 90, -1)
        cv2.putText(image, word, (left + 14, 378), 0, 0.7, 250, 2, cv2.LINE_AA)
    strokes = np.zeros_like(image)
    margin = (SIDE - len(drawn)) // 2
    strokes[TOP + margin :, LEFT + margin :][: len(drawn), : len(drawn)] = drawn
    mixed = image + (pen - image.astype(np.float32)) * strokes / 255
    return np.asarray(mixed.round(), np.uint8)


looks = pytest.mark.parametrize(
    "look",
    [
        {"page": 245, "canvas": 255, "frame": 180, "pen": 0},
        {"page": 255, "canvas": 255, "frame": 40, "pen": 0, "width": 4},
        {"page": 245, "canvas": 0, "frame": 90, "pen": 255},
        {"page": 20, "canvas": 0, "frame": 200, "pen": 255},
    ],
    ids=["white", "framed", "black", "dark page"],
)


@digits
@looks
def test_the_digit_on_a_screenshots_canvas_is_read(digit: int, look: dict[str, int]) -> None:
    result = normalize(screenshot(drawn=ink(digit, 150), **look))
    left, top, right, bottom = result.box or (0, 0, 0, 0)
    assert alike(result.digit, normalized(ink(digit, 150))) > 0.95
    assert result.inverted is (look["pen"] == 0)
    assert LEFT < left < right < LEFT + SIDE
    assert TOP < top < bottom < TOP + SIDE
    assert result.apart == ()
    assert result.warnings == ("frame-removed",)


@looks
def test_a_blank_canvas_is_no_panel(look: dict[str, int]) -> None:
    assert find_panel(screenshot(drawn=np.zeros((150, 150), np.uint8), **look)) is None


@digits
def test_a_digit_beside_a_box_is_as_good_as_the_digit_in_it(digit: int) -> None:
    image = np.full((200, 300), 255, np.uint8)
    cv2.rectangle(image, (20, 20), (180, 180), 0, 2)
    image[50:150, 50:150] -= ink(digit, 100)
    image[60:140, 205:285] -= ink(3, 80)
    assert find_panel(image) is None


@digits
def test_a_form_box_with_nothing_beside_it_is_no_panel(digit: int) -> None:
    image = np.full((200, 200), 255, np.uint8)
    cv2.rectangle(image, (20, 20), (180, 180), 0, 2)
    image[50:150, 50:150] -= ink(digit, 100)
    assert find_panel(image) is None

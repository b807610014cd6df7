import cv2
import numpy as np
import pytest

from app.vision.grayscale import GrayImage
from app.vision.ink import (
    exceeds,
    find_ink,
    ground_of,
    ink_above,
    ink_is_dark,
    noise_floor,
    noise_of,
    plain_ground,
)


def ring(side: int = 90, width: int = 7, ground: int = 220, ink: int = 60) -> GrayImage:
    image = np.full((side, side), ground, np.uint8)
    cv2.circle(image, (side // 2, side // 2), side // 3, ink, width)
    return image


@pytest.mark.parametrize("width", [1, 7, 18])
@pytest.mark.parametrize("inverted", [False, True], ids=["dark", "bright"])
def test_ink_is_told_from_ground(width: int, inverted: bool) -> None:
    image = 255 - ring(width=width) if inverted else ring(width=width)
    assert ink_is_dark(image) is not inverted
    assert find_ink(image).dark is not inverted


def test_a_page_is_plain_to_the_last_bit_or_not_at_all() -> None:
    page = ring()
    assert plain_ground(page) == 220
    page[0, 5] = 219
    assert plain_ground(page) is None
    assert plain_ground(ring(ground=100, ink=60) // 2 + np.eye(90, dtype=np.uint8)) is None


def test_the_ground_is_the_page_without_narrow_strokes() -> None:
    assert (ground_of(ring(), 30, dark=True) == 220).all()
    assert ground_of(ring(width=40), 10, dark=True).min() == 60


def test_dark_ink_is_the_share_of_light_taken_away_and_bright_ink_what_it_adds() -> None:
    gray, ground = np.array([[50, 120]], np.uint8), np.array([[100, 240]], np.uint8)
    assert ink_above(gray, ground, dark=True).tolist() == [[127.5, 127.5]]
    assert ink_above(ground, gray, dark=False).tolist() == [[50, 120]]


def test_noise_is_what_the_ground_has_away_from_the_ink() -> None:
    clean = find_ink(ring())
    assert noise_of(clean.ink, clean.mask) == 0
    grain = np.random.default_rng(1).normal(0, 4, (90, 90))
    grainy = find_ink((ring() + grain).clip(0, 255).astype(np.uint8))
    floor = noise_floor(grainy.ink)
    assert 4 < noise_of(grainy.ink, grainy.mask) < 60
    assert floor < grainy.ink.max()


def test_ink_in_a_shadow_is_ink_and_the_shadow_is_not() -> None:
    image = ring().astype(np.float32)
    image[:, :40] *= 0.5
    found = find_ink(image.astype(np.uint8)).mask
    expected = (ring() < 140).astype(np.uint8)
    assert (found & expected).sum() > 0.9 * expected.sum()
    near = cv2.dilate(expected, np.ones((5, 5), np.uint8))
    assert (found[near == 0]).mean() < 0.01


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("level", [0, 0.5, 76.5, 77, 254.9, 255, 300])
def test_what_exceeds_a_level(kind: str, level: float) -> None:
    plane = np.asarray(np.arange(256).reshape(16, 16), kind)
    assert exceeds(plane, level).ravel().tolist() == [value > level for value in range(256)]

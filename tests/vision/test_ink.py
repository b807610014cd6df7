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


def test_a_page_is_plain_to_the_last_bit_but_for_ripples_at_its_rim() -> None:
    page = ring()
    assert plain_ground(page) == 220
    page[0, 5] = 217
    assert plain_ground(page) == 220
    page[0, 5] = 216
    assert plain_ground(page) is None
    assert plain_ground(ring(ground=100, ink=60) // 2 + np.eye(90, dtype=np.uint8)) is None


def test_a_page_enlarged_by_cubic_curves_is_plain() -> None:
    page = np.full((28, 28), 255, np.uint8)
    page[3:-1, 10:14] = 0
    large = np.asarray(cv2.resize(page, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), np.uint8)
    assert large[-1].min() < 255
    assert plain_ground(large) == 255


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


def shaded(
    image: GrayImage, degrees: float, offset: float, *, taken: float = 0.5, noise: float = 2
) -> GrayImage:
    """`image` [h,w] with a shadow behind a hard edge, which is `offset` from the middle.

    Args:
        image: A page.
        degrees: Where the shadow lies: 0 is to the right.
        offset: In halves of the side; below 0 more than half of the page lies in the shadow.
        taken: The share of light that the shadow takes.
        noise: The camera's, in levels.
    """
    x, y = np.meshgrid(*(np.linspace(-1, 1, size) for size in image.shape[::-1]))
    turn = np.deg2rad(degrees)
    edge = np.cos(turn) * x + np.sin(turn) * y - offset
    light = 1 - taken * np.clip(0.5 + edge / 0.05, 0, 1)
    grain = np.random.default_rng(3).normal(0, noise, image.shape)
    return np.asarray((image * light + grain).clip(0, 255).round(), np.uint8)


ACROSS = [(degrees, offset) for degrees in range(0, 360, 30) for offset in (-0.3, 0.0)]
ALONG = [(degrees, offset) for degrees in range(0, 360, 90) for offset in (0.5, 0.7, 0.9)]


@pytest.mark.parametrize(("degrees", "offset"), ACROSS + ALONG)
@pytest.mark.parametrize("taken", [0.4, 0.6])
def test_both_sides_of_a_shadows_edge_are_ground(
    degrees: float, offset: float, taken: float
) -> None:
    page = ring(side=140, width=4, ink=140)
    found = find_ink(shaded(page, degrees, offset, taken=taken))
    strokes = (page < 220).astype(np.uint8)
    assert found.dark
    assert found.mask[strokes > 0].mean() > 0.9
    assert found.mask[cv2.dilate(strokes, np.ones((7, 7))) == 0].mean() < 0.01


@pytest.mark.parametrize("degrees", range(0, 360, 30))
@pytest.mark.parametrize("offset", [-0.9, -0.6])
def test_a_deep_shadow_over_most_of_a_page_does_not_make_faint_pencil_bright(
    degrees: float, offset: float
) -> None:
    page = ring(side=140, width=4, ink=170)
    assert ink_is_dark(shaded(page, degrees, offset, taken=0.7))


def test_the_cameras_noise_is_no_ink_in_a_deep_shadow() -> None:
    page = ring(side=140, width=4, ink=140)
    found = find_ink(shaded(page, 0, 0.5, taken=0.75, noise=6))
    assert found.mask[:, 125:].mean() < 0.001
    assert found.mask[page < 220].mean() > 0.8


@pytest.mark.parametrize("side", [np.s_[:5], np.s_[:, -5:]], ids=["top", "right"])
def test_a_stroke_along_the_border_is_ink(side: tuple[slice, ...]) -> None:
    page = ring(side=140)
    page[side] = 60
    assert find_ink(page).mask[side].all()

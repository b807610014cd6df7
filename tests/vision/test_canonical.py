from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as Pillow

from app.api.payload import RawImage
from app.inference.registry import newest
from app.settings import Settings
from app.vision.canonical import digits_among
from app.vision.decode import decode
from app.vision.normalize import normalize
from tests.conftest import Image, png


def made(images: Image) -> list[Image]:
    """As MNIST made them."""
    found = [normalize(image) for image in images]
    return [one.digit for one in found if one.box]


@pytest.fixture(scope="module")
def digits() -> list[Image]:
    with np.load(newest(Settings().models_dir) / "golden.npz") as golden:
        return made(golden["images"])


def by_pillow(image: Image) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "PNG")
    return file.getvalue()


def filtered(kind: int) -> Callable[[Image], bytes]:
    setting = (cv2.IMWRITE_PNG_FILTER, kind)
    return lambda image: cv2.imencode(".png", image, setting)[1].tobytes()


NONE, SUB, UP, PAETH = (
    filtered(kind)
    for kind in (
        cv2.IMWRITE_PNG_FILTER_NONE,
        cv2.IMWRITE_PNG_FILTER_SUB,
        cv2.IMWRITE_PNG_FILTER_UP,
        cv2.IMWRITE_PNG_FILTER_PAETH,
    )
)


def agree(images: list[RawImage], *, known: int) -> None:
    """So many are known, and all those are what they are one by one."""
    found = digits_among(images)
    assert len(found) == len(images)
    assert sum(one is not None for one in found) == known
    for image, one in zip(images, found, strict=True):
        if one is not None:
            grey = decode(image, max_pixels=784).grey if isinstance(image, bytes) else image
            alone = normalize(grey)
            assert (one.digit == alone.digit).all()
            assert one[1:] == alone[1:]


@pytest.mark.parametrize(
    "sent",
    [lambda image: image, NONE, SUB, UP],
    ids=["numbers", "no filter", "filter sub", "filter up"],
)
def test_what_mnist_made_is_known(digits: list[Image], sent: Callable[[Image], RawImage]) -> None:
    agree([sent(digit) for digit in digits], known=len(digits))


def test_ways_may_be_mixed(digits: list[Image]) -> None:
    ways: list[Callable[[Image], RawImage]] = [lambda image: image, NONE, by_pillow, SUB, UP, PAETH]
    images = [ways[index % len(ways)](digit) for index, digit in enumerate(digits)]
    agree(images, known=sum(index % len(ways) not in (2, 5) for index in range(len(images))))


def test_one_is_known_as_well_as_many(digits: list[Image]) -> None:
    agree([NONE(digits[0])], known=1)
    agree([digits[0]], known=1)
    agree([], known=0)


@pytest.mark.parametrize("turn", range(4))
def test_ink_whose_mass_is_at_one_end_stays_within_the_picture(turn: int) -> None:
    club = np.zeros((28, 28), np.uint8)
    club[0:18, 14] = 1
    club[18:20, 14] = 255
    image = np.rot90(club, turn)
    digit = normalize(image).digit
    assert digit.sum() == image.sum()
    assert normalize(digit).digit.tolist() == digit.tolist()
    agree([digit], known=1)


def test_others_are_not_known(digits: list[Image]) -> None:
    whole = png(digits[0])
    pixels = np.asarray(cv2.resize(digits[0], (29, 28)), np.uint8)
    other: list[RawImage] = [
        np.zeros((28, 28), np.uint8),
        255 - digits[0],
        np.roll(digits[0], 1, axis=1),
        np.maximum(digits[0], 1),
        pixels,
        png(pixels),
        png(255 - digits[0]),
        cv2.imencode(".jpg", digits[0])[1].tobytes(),
        whole[:-1],
        whole[:60] + bytes([whole[60] ^ 1]) + whole[61:],
        whole[:33] + whole[-12:],
        b"",
        b"no image",
    ]
    agree(other, known=0)
    agree([*other, *digits], known=len(digits))


@given(
    st.lists(
        arrays(np.uint8, (20, 20), elements=st.sampled_from([0, 0, 0, 1, 90, 255])),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 8),
    st.integers(0, 8),
)
def test_any_ink_is_known_or_not_as_it_would_be_alone(
    inks: list[Image], left: int, top: int
) -> None:
    """Whatever is known is what it would be, and what is put where it belongs is known."""
    moved: list[RawImage] = [np.pad(ink, ((top, 8 - top), (left, 8 - left))) for ink in inks]
    found = digits_among(moved)
    for image, one in zip(moved, found, strict=True):
        assert isinstance(image, np.ndarray)
        alone = normalize(image)
        if one is not None:
            assert (one.digit == alone.digit).all()
            assert one[1:] == alone[1:]
        else:
            assert alone.box is None or alone.digit.tolist() != image.tolist() or alone.inverted

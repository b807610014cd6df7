"""The mix has its shares, and its pictures are what their kinds promise."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from benchmarks import digits, mix
from benchmarks.digits import Digits
from benchmarks.peers import digit
from tests.conftest import ROOT

MODELS = ROOT / "models" / "digits"


@pytest.fixture(scope="module")
def source() -> Digits:
    """Digits that every checkout has."""
    golden = digits.held_back(MODELS, None)
    assert set(golden.labels) == set(range(10))
    return golden


@pytest.fixture(autouse=True)
def no_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIGITS_DATA", raising=False)


@pytest.fixture(scope="module")
def block(source: Digits) -> list[mix.Picture]:
    return mix.draw_mix(source, blocks=1, seed=3)


def pictures(source: Digits, kind: str, count: int) -> list[mix.Picture]:
    return mix.draw(source, kind, count=count, rng=np.random.default_rng(4))


def test_shares_hold_in_every_block(block: list[mix.Picture]) -> None:
    assert Counter(picture.kind for picture in block) == mix.SHARES
    assert {kind: count / mix.BLOCK for kind, count in mix.SHARES.items()} == {
        "canvas": 0.4,
        "crop": 0.3,
        "photo": 0.18,
        "large-photo": 0.02,
        "png-28": 0.1,
    }


def test_a_seed_gives_the_same_pictures(source: Digits, block: list[mix.Picture]) -> None:
    again = mix.draw_mix(source, blocks=1, seed=3)
    assert again == block
    assert [picture.kind for picture in block] != sorted(picture.kind for picture in block)


def test_forms_and_sizes_of_each_kind(source: Digits) -> None:
    for kind, count in (("canvas", 6), ("crop", 12), ("photo", 4), ("png-28", 2)):
        for picture in pictures(source, kind, count):
            image = Image.open(io.BytesIO(picture.file))
            megapixels = image.width * image.height / 1e6
            if kind == "canvas":
                assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (280, 280))
            elif kind == "crop":
                assert (image.format, image.mode) in [
                    ("PNG", "L"), ("PNG", "RGB"), ("JPEG", "RGB"),
                ]  # fmt: skip
                assert all(40 <= side <= 200 for side in image.size)
            elif kind == "photo":
                assert image.format == "JPEG"
                assert 0.99 <= megapixels <= 3
            else:
                assert (image.format, image.mode, image.size) == ("PNG", "L", (28, 28))
    (large,) = pictures(source, "large-photo", 1)
    assert sorted(Image.open(io.BytesIO(large.file)).size) == [3024, 4032]


def test_crops_and_canvases_come_in_every_variant(source: Digits) -> None:
    crops = [Image.open(io.BytesIO(p.file)) for p in pictures(source, "crop", 30)]
    assert len({(crop.format, crop.mode) for crop in crops}) == 3
    corners = {
        Image.open(io.BytesIO(p.file)).getpixel((0, 0)) for p in pictures(source, "canvas", 30)
    }
    assert corners == {(0, 0, 0, 0), (255, 255, 255, 255), (0, 0, 0, 255)}


def test_peers_see_white_ink_on_black(source: Digits) -> None:
    for kind in ("png-28", "canvas", "crop"):
        for picture in pictures(source, kind, 12):
            seen = digit.read(picture.file)
            assert seen.shape == (28, 28)
            assert seen[:2].mean() < 100 < seen.max()
            assert seen[8:20, 8:20].mean() > seen[:2].mean()

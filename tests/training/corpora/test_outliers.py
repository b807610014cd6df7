from pathlib import Path

import cv2
import numpy as np
import pytest

from app.vision.grayscale import GrayImage
from training.corpora import canvases
from training.corpora.outliers import (
    FONTS,
    HELD_BACK,
    HELD_BACK_FONTS,
    HELD_BACK_LETTERS,
    HELD_BACK_SIGNS,
    HELD_BACK_WRITTEN,
    LETTERS,
    MADE,
    WRITTEN,
    WRITTEN_SIGNS,
    arrived,
    drawable,
    main,
    may_be_one,
    sample,
    smooth,
    table_of,
    turned,
    without,
)


def digits() -> tuple[GrayImage, GrayImage]:
    """Ten drawn digits; what halves and pairs are made of needs no more."""
    images = np.zeros((10, 28, 28), np.uint8)
    for i, image in enumerate(images):
        cv2.ellipse(image, (14, 14), (5 + i % 3, 9), 0, 0, 360, 255, 2, cv2.LINE_AA)
    return images, np.arange(10, dtype=np.uint8)


@pytest.mark.parametrize("held_back", [False, True], ids=["learnt", "held back"])
def test_a_sample_is_what_the_model_would_see(held_back: bool) -> None:
    table = HELD_BACK if held_back else MADE
    made, kinds = sample(120, np.random.default_rng(1), *digits(), held_back=held_back)
    assert made.shape == (120, 28, 28)
    assert made.dtype == np.uint8
    assert all(image.any() for image in made)
    assert set(kinds.tolist()) <= set(range(len(table)))
    assert len(set(kinds.tolist())) > len(table) / 2


@pytest.mark.parametrize("table", [MADE, HELD_BACK], ids=["learnt", "held back"])
def test_shares_sum_to_one_and_every_kind_can_be_made(
    table: dict[str, tuple[float, object]],
) -> None:
    assert sum(share for share, _ in table.values()) == pytest.approx(1)
    rng = np.random.default_rng(2)
    images, labels = digits()
    for _, maker in table.values():
        ink = maker(images, labels, rng)  # type: ignore[operator]
        assert ink.ndim == 2
        assert ink.max() > 100


def test_the_same_seed_makes_the_same_sample() -> None:
    one, same = (sample(20, np.random.default_rng(3), *digits())[0] for _ in range(2))
    assert np.array_equal(one, same)


def test_nothing_is_both_learnt_and_held_back() -> None:
    assert not set(FONTS) & set(HELD_BACK_FONTS)
    assert not set(without(LETTERS)) & set(HELD_BACK_LETTERS)
    assert set(WRITTEN) > HELD_BACK_WRITTEN
    assert set(WRITTEN_SIGNS) > HELD_BACK_SIGNS


@pytest.mark.parametrize(
    ("end", "width", "one"),
    [
        ((14, 24), 3, True),
        ((8, 24), 3, True),
        ((20, 22), 4, True),
        ((24, 6), 3, False),
        ((14, 24), 8, False),
    ],
    ids=["upright", "slanted", "slanted back", "lying", "a bar"],
)
def test_a_single_stroke_may_be_a_one(end: tuple[int, int], width: int, one: bool) -> None:
    outlier = np.zeros((28, 28), np.uint8)
    cv2.line(outlier, (14, 4), end, 255, width)
    assert may_be_one(outlier) is one


def test_an_exclamation_mark_may_be_a_one_only_without_its_dot() -> None:
    outlier = np.zeros((28, 28), np.uint8)
    cv2.line(outlier, (14, 4), (14, 18), 255, 3)
    assert may_be_one(outlier)
    cv2.circle(outlier, (14, 23), 1, 255, -1)
    assert not may_be_one(outlier)


def test_letters_that_look_like_digits_are_left_out() -> None:
    written = {name[0] for name in WRITTEN}
    assert not (set(LETTERS) | set(HELD_BACK_LETTERS) | written) & set("oOiIlzZsSqgbBD|0123456789")


@pytest.mark.parametrize("name", FONTS + HELD_BACK_FONTS)
def test_every_font_has_the_latin_letters(name: str) -> None:
    latin = "".join(letter for letter in LETTERS if letter.isascii())
    if name == "cmmi10":  # mathematics' own order of characters, with all of these
        latin = "ACEFMacefm"
    assert set(latin) <= set(drawable(name, LETTERS))


def test_characters_that_a_font_lacks_are_not_drawn() -> None:
    assert drawable("cmr10", "A\u0416") == "A"


def test_a_curve_runs_through_its_points_and_keeps_its_corners() -> None:
    points = np.array([[0, 0], [1, 0], [1, 0], [1, 1]], float)
    curve = smooth(points)
    for point in points:
        assert np.abs(curve - point).sum(axis=1).min() < 1e-9
    assert curve.min() > -0.1
    assert curve.max() < 1.1


def test_the_command_writes_a_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "digits.npz", tmp_path / "outliers.npz"
    images, labels = digits()
    np.savez(source, x=images, y=labels)
    main(["--data", str(source), "--split", "usps", "--count", "5", "--out", str(out)])
    with np.load(out) as made:
        assert made["digits"].shape == (5, 28, 28)
        assert made["kind_names"].tolist() == list(MADE)
    assert "5 outliers" in capsys.readouterr().out


def test_some_outliers_arrive_as_digits_do() -> None:
    ink = np.zeros((60, 60), np.uint8)
    cv2.line(ink, (5, 5), (55, 55), 255, 6)
    cv2.line(ink, (55, 5), (5, 55), 255, 6)
    plain = arrived(ink, np.random.default_rng(0), 0.0)
    carried = [arrived(ink, np.random.default_rng(seed), 1.0) for seed in range(10)]
    assert all(canvases.are_alike(plain, one) for one in carried)
    assert not all(np.array_equal(plain, one) for one in carried)


@pytest.mark.parametrize("held_back", [False, True], ids=["learnt", "held back"])
def test_letters_of_handwriting_fonts_are_made_where_there_are_fonts(held_back: bool) -> None:
    table = table_of(held_back=held_back, fonts=("DejaVuSans",))
    made = {name: maker for name, (_, maker) in table.items() if "handwriting" in name}
    assert len(made) == 2
    for maker in made.values():
        assert maker(*digits(), np.random.default_rng(1)).max() > 100


def test_digits_that_stay_digits_when_turned_are_made_do_with() -> None:
    images, _ = digits()
    ones = np.ones(len(images), np.uint8)
    assert turned(images, ones, np.random.default_rng(0)).max() > 0

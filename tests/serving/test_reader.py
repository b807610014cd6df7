from __future__ import annotations

import time
from functools import cache
from typing import cast

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import BrokenImage, ClientGone, ImageTooLarge, ModelError
from app.inference import loading
from app.inference.classifier import Classifier
from app.inference.grammar import Check, Grammar
from app.inference.registry import ModelRegistry
from app.inference.search import MAX_STEPS, MAX_STEPS_ASKED_FOR
from app.serving.predictor import StepSeconds
from app.serving.reader import ROW_COST, STEP_COST, Number, Numbers, Reader
from tests.conftest import ROOT, Image, png
from tests.serving.test_predictor import open_lease, with_broken_pixels

MAX_PIXELS = 1_000_000


class Live:
    """A registry whose classifier is given."""

    def __init__(self, classifier: Classifier) -> None:
        self.live = classifier


@cache
def shipped() -> Classifier:
    return loading.load(ROOT / "models" / "digits" / "7")


def reader(classifier: Classifier | None = None, **options: object) -> Reader:
    registry = cast("ModelRegistry", Live(classifier or shipped()))
    return Reader(registry, max_pixels=MAX_PIXELS, **options)  # type: ignore[arg-type]


def row(text: str, *, gap: int = 30, scale: float = 2.0) -> Image:
    """Digits as a plotter draws them, dark on light."""
    picture = np.full((100, 40 + len(text) * (40 + gap)), 255, np.uint8)
    for place, digit in enumerate(text):
        at = 20 + place * (40 + gap), 75
        cv2.putText(picture, digit, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 0, 5, cv2.LINE_AA)
    return picture


ANGULAR = [(0.75, 1.0), (0.75, 0.0), (0.0, 0.65), (1.0, 0.65)]
"""Corners of a 4 that has straight strokes alone, as shares of its box."""


def angular(height: int, pen: int) -> Image:
    """A 4 of straight strokes, cut out without any margin, dark on light."""
    size = np.array((7 * height // 10, height)) - 1 - pen
    corners = np.rint(pen / 2 + size * np.array(ANGULAR)).astype(np.int32)
    picture = np.full((height, 7 * height // 10), 255, np.uint8)
    cv2.polylines(picture, [corners], False, 20, pen, cv2.LINE_AA)
    return picture


def read(*images: bytes | Image, grammar: Grammar | None = None) -> list[Number]:
    one = reader()
    (outcome,) = one.read([one.prepare(images, open_lease(), grammar or Grammar())])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome.items


@pytest.mark.parametrize("text", ["1977", "20", "3", "86420", "777"])
def test_a_number_is_read(text: str) -> None:
    (number,) = read(png(row(text)))
    assert number.text == text
    assert "".join(str(digit.label) for digit in number.digits) == text
    assert 0 < number.confidence <= 1


def test_numbers_are_in_the_order_of_the_images() -> None:
    texts = ["12", "345", "6"]
    assert [number.text for number in read(*map(row, texts))] == texts


@given(st.text("0123456789", min_size=1, max_size=8), st.integers(6, 40))
@settings(max_examples=15)
def test_an_answer_is_of_one_piece(text: str, gap: int) -> None:
    picture = row(text, gap=gap)
    height, width = picture.shape
    (number,) = read(picture)
    assert len(number.text) == len(number.digits)
    assert len(number.alternatives) <= 5
    shares = [number.confidence, *(one.probability for one in number.alternatives)]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1 + 1e-6
    assert number.text not in {one.text for one in number.alternatives}
    lefts = []
    for digit in number.digits:
        left, top, right, bottom = digit.box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert digit.probabilities.sum() == pytest.approx(1)
        assert digit.confidence == pytest.approx(digit.probabilities[digit.label])
        lefts.append(left + right)
    assert lefts == sorted(lefts)


@given(st.permutations(range(4)))
@settings(max_examples=6)
def test_answers_do_not_depend_on_the_batch(order: list[int]) -> None:
    texts = ["1977", "20", "5", "404"]
    one = reader()
    requests = [one.prepare([row(texts[at])], open_lease(), Grammar()) for at in order]
    for at, outcome in zip(order, one.read(requests), strict=True):
        (alone,) = read(row(texts[at]))
        assert isinstance(outcome, Numbers)
        (number,) = outcome.items
        assert number.text == alone.text
        assert number.confidence == pytest.approx(alone.confidence, abs=1e-4)
        assert [d.box for d in number.digits] == [d.box for d in alone.digits]


def test_a_length_and_a_pattern_are_respected() -> None:
    picture = row("1250")
    (amount,) = read(picture, grammar=Grammar(pattern="##9.99"))
    assert amount.text == "12.50"
    assert len(amount.digits) == 4
    (four,) = read(picture, grammar=Grammar(4, 4))
    assert four.text == "1250"
    (none,) = read(picture, grammar=Grammar(9, 9))
    assert none.rejected is not None
    (checked,) = read(picture, grammar=Grammar(check=Check.LUHN))
    assert checked.text != "1250"


@pytest.mark.parametrize(
    ("shown", "pattern", "text"),
    [
        ("$7.25", "$#,##9.99", "7.25"),
        ("$130.99", "$#,##9.99", "130.99"),
        ("$45", "$##9", "45"),
        ("545", "$##9", "545"),
        ("-12.50", "-#,##9.99", "-12.50"),
        ("1/2/1987", "#9/#9/9999", "1/2/1987"),
        ("12/05/1987", "99/99/9999", "12/05/1987"),
        ("3-5-2024", "#9-#9-9999", "3-5-2024"),
    ],
)
def test_marks_are_told_from_digits(shown: str, pattern: str, text: str) -> None:
    picture = row(shown, gap=12)
    (number,) = read(picture, grammar=Grammar(pattern=pattern))
    assert number.text == text


@given(st.integers(60, 180), st.integers(3, 5))
@settings(max_examples=12)
def test_a_4_cut_without_margin_keeps_its_straight_strokes(height: int, pen: int) -> None:
    (number,) = read(angular(height, pen))
    assert (number.text, number.rejected) == ("4", None)


def test_a_digit_with_lines_has_its_place_among_others() -> None:
    (first, lined, last) = read(row("12"), angular(100, 3), row("345"))
    assert [first.text, lined.text, last.text] == ["12", "4", "345"]
    assert lined.digits[0].box == (0, 0, 70, 100)


@given(st.lists(st.sampled_from(["3", "4", "12", "25", "1987"]), min_size=2, max_size=3))
@settings(max_examples=12)
def test_a_number_whose_slash_would_be_a_1_is_uncertain(parts: list[str]) -> None:
    (number,) = read(row("/".join(parts), gap=12))
    assert number.rejected == "uncertain"


@given(st.tuples(*[st.sampled_from("023456789")] * 3), st.integers(0, 20))
@settings(max_examples=12)
def test_a_1_that_slants_stays(others: tuple[str, ...], slant: int) -> None:
    before, behind, last = others
    picture = row(f"{before} {behind}{last}", gap=12)
    cv2.line(picture, (90 + slant // 2, 34), (90 - slant // 2, 74), 0, 5, cv2.LINE_AA)
    (number,) = read(picture)
    assert (number.text, number.rejected) == (f"{before}1{behind}{last}", None)


@given(st.sampled_from(["903", "3627", "45"]), st.integers(8, 14), st.integers(2, 4))
@settings(max_examples=12)
def test_a_minus_is_not_dropped_in_silence(text: str, width: int, pen: int) -> None:
    picture = np.pad(row(text, gap=12), ((0, 0), (20, 0)), constant_values=255)
    cv2.line(picture, (22, 54), (22 + width, 54), 0, pen, cv2.LINE_AA)
    (number,) = read(picture)
    assert number.rejected is not None
    (signed,) = read(picture, grammar=Grammar(pattern="-###9"))
    assert signed.text == f"-{text}"


@given(
    st.text("0123456789", min_size=3, max_size=5),
    st.data(),
    st.integers(2, 5),
    st.integers(-20, 20),
)
@settings(max_examples=12)
def test_a_digit_that_a_line_ties_to_the_border_is_not_lost_in_silence(
    text: str, data: st.DataObject, pen: int, aside: int
) -> None:
    picture = row(text)
    middle = 40 + 70 * data.draw(st.integers(0, len(text) - 1))
    cv2.line(picture, (middle, 70), (middle + aside, 99), 0, pen, cv2.LINE_AA)
    (number,) = read(picture)
    assert number.text == text or number.rejected is not None


def test_a_blank_page_is_blank() -> None:
    (number,) = read(png(np.full((60, 200), 255, np.uint8)))
    assert (number.text, number.confidence, number.rejected) == ("", 0.0, "blank")
    assert not number.digits
    assert not number.alternatives


def test_a_row_costs_more_than_the_event_loop_does() -> None:
    images = [row("12"), row("34")]
    request = reader().prepare(images, open_lease(), Grammar())
    assert request.cost > 2 * (ROW_COST + STEP_COST * MAX_STEPS)
    checked = reader().prepare(images, open_lease(), Grammar(check=Check.MOD97))
    assert checked.cost - request.cost == 2 * STEP_COST * (MAX_STEPS_ASKED_FOR - MAX_STEPS)


def test_what_is_too_large_or_broken_fails_its_request_alone() -> None:
    one = reader()
    with pytest.raises(ImageTooLarge, match="Image 1"):
        one.prepare([row("1"), np.zeros((1001, 1000), np.uint8)], open_lease(), Grammar())
    good, bad = (
        one.prepare([image], open_lease(), Grammar())
        for image in (png(row("12")), with_broken_pixels(png(row("12"))))
    )
    fine, broken = one.read([good, bad])
    assert isinstance(fine, Numbers)
    assert isinstance(broken, BrokenImage)


def test_work_that_nobody_waits_for_is_not_done() -> None:
    one = reader()
    lease = open_lease(time.monotonic() + 60)
    request = one.prepare([row("12")], lease, Grammar())
    lease.revoke(ClientGone())
    (outcome,) = one.read([request])
    assert isinstance(outcome, ClientGone)


def test_a_model_that_fails_fails_every_request() -> None:
    def fail(images: Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        raise ValueError("broken")

    live = shipped()
    broken = Classifier(live.name, live.version, live.card, live.thresholds, fail)
    one = reader(broken)
    outcomes = one.read([one.prepare([row("12")], open_lease(), Grammar()) for _ in range(2)])
    assert [type(outcome) for outcome in outcomes] == [ModelError, ModelError]


def test_all_candidates_are_classified_in_one_call() -> None:
    calls: list[tuple[int, StepSeconds]] = []
    one = reader(on_batch=lambda images, seconds: calls.append((images, seconds)))
    one.read([one.prepare([row("12"), row("345")], open_lease(), Grammar()) for _ in range(2)])
    ((images, seconds),) = calls
    assert images >= 10
    assert len(seconds.queue) == 2

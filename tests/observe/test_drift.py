from __future__ import annotations

import json
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from app.inference.classifier import Rejection
from app.inference.judge import RowRejection
from app.inference.registry import version_to_serve
from app.observe.drift import ANSWERS, FEATURES, MIN_IMAGES, NUMBERS, SLOTS, Reference, distance
from app.observe.metrics import Metrics
from app.vision.stroke import measure
from benchmarks.columns import Columns
from tests.conftest import ROOT

SECONDS = 1200.0
EVEN = [0.25, 0.25, 0.25, 0.25]


class Digit(NamedTuple):
    digit: NDArray[np.uint8]


class Answer(NamedTuple):
    label: int | None
    confidence: float
    rejected: Rejection | None
    normalized: Digit


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def line(width: int) -> Digit:
    digit = np.zeros((28, 28), np.uint8)
    digit[4:24, 14 : 14 + width] = 255
    return Digit(digit)


def card(**changes: Any) -> dict[str, Any]:
    """A card whose reference is of strokes of 2 to 5 pixels, in equal shares."""
    middles = [
        float(np.mean(measure(np.stack([line(a).digit, line(a + 1).digit])).stroke))
        for a in (2, 3, 4)
    ]
    inks = [20 * (width + 0.5) / 784 for width in (2, 3, 4)]
    entry: dict[str, Any] = {
        "accuracy": {"all": 0.9, "accepted": 0.95},
        "label": [0.1] * 10,
        "rejection": {"accepted": 0.9, "uncertain": 0.1},
        "confidence": {
            "bounds": [0.7, 0.95],
            "shares": [0.1, 0.2, 0.7],
            "accuracy": [0.5, 0.8, 1.0],
        },
        "ink": {"bounds": inks, "shares": EVEN},
        "stroke": {"bounds": middles, "shares": EVEN},
    }
    of_numbers = entry | {
        "accuracy": {"all": 0.8, "accepted": 0.85},
        "confidence": entry["confidence"] | {"accuracy": [0.4, 0.7, 0.9]},
    }
    return {"version": "4", "reference": entry | changes, "number_reference": of_numbers}


def usual(count: int) -> list[Answer]:
    """Answers that are like the reference."""
    answers = []
    for place in range(count):
        confidence = (0.6, *[0.9] * 2, *[0.99] * 7)[place // 10 % 10]
        rejected = Rejection.UNCERTAIN if confidence == 0.6 else None
        answers.append(Answer(place % 10, confidence, rejected, line(2 + place % 4)))
    return answers


def watched(clock: Clock, folder: Path | None = None) -> Metrics:
    metrics = Metrics(
        folder,
        reasons=Rejection,
        number_reasons=RowRejection,
        measure=measure,
        drift_seconds=SECONDS,
        clock=clock,
    )
    metrics.set_model("digits", "4", card())
    return metrics


class NumberDigit(NamedTuple):
    label: int
    normalized: NDArray[np.uint8]


class Number(NamedTuple):
    digits: list[NumberDigit]
    confidence: float
    rejected: RowRejection | None


def numbers(count: int) -> list[Number]:
    """Numbers of two digits that are like the reference."""
    found = []
    for place in range(count):
        confidence = (0.6, *[0.9] * 2, *[0.99] * 7)[place // 10 % 10]
        digits = [
            NumberDigit((place + 3 * step) % 10, line(2 + (place + step) % 4).digit)
            for step in (0, 1)
        ]
        rejected = RowRejection.UNCERTAIN if confidence == 0.6 else None
        found.append(Number(digits, confidence, rejected))
    return found


def read(metrics: Metrics, some: list[Number], version: str = "4") -> None:
    for start in range(0, len(some), 30):
        metrics.observe_numbers(version, some[start : start + 30])
        metrics.flush()


def send(metrics: Metrics, answers: list[Answer], version: str = "4") -> None:
    for start in range(0, len(answers), 50):
        metrics.observe_predictions(version, Columns(answers[start : start + 50]))
        metrics.flush()


def test_what_is_as_ever_is_near_and_as_accurate_as_expected() -> None:
    metrics = watched(Clock())
    send(metrics, usual(1000))
    report = metrics.drift()
    assert report.images == 1000
    assert max(report.distance.values()) < 0.01
    assert report.expected_accuracy["all"] == pytest.approx(0.1 * 0.5 + 0.2 * 0.8 + 0.7)
    assert report.expected_accuracy["accepted"] == pytest.approx((0.2 * 0.8 + 0.7) / 0.9)
    assert report.reference_accuracy == {"all": 0.9, "accepted": 0.95}


@pytest.mark.parametrize(
    ("feature", "change"),
    [
        ("label", {"label": 1}),
        ("rejection", {"rejected": Rejection.NOT_A_DIGIT}),
        ("confidence", {"confidence": 0.8}),
        ("stroke", {"normalized": line(8)}),
        ("ink", {"normalized": line(8)}),
    ],
)
def test_a_change_moves_its_feature_and_no_others(feature: str, change: dict[str, Any]) -> None:
    metrics = watched(Clock())
    send(metrics, [answer._replace(**change) for answer in usual(1000)])
    distances = metrics.drift().distance
    moved = {name for name, value in distances.items() if value > 0.2}
    assert feature in moved
    assert moved - {feature} <= {"ink", "stroke"}


def test_blank_images_are_rejections_and_nothing_else() -> None:
    metrics = watched(Clock())
    blank = Answer(None, 0.1, Rejection.BLANK, Digit(np.zeros((28, 28), np.uint8)))
    send(metrics, [*usual(1000), *[blank] * 1000])
    distances = metrics.drift().distance
    assert distances["rejection"] > 0.4
    assert max(value for name, value in distances.items() if name != "rejection") < 0.01


def test_nothing_is_said_of_too_little() -> None:
    metrics = watched(Clock())
    send(metrics, usual(MIN_IMAGES - 1))
    report = metrics.drift()
    assert report.images == MIN_IMAGES - 1
    figures = [*report.distance.values(), *report.expected_accuracy.values()]
    assert len(figures) == len(FEATURES) + len(ANSWERS)
    assert all(map(isnan, figures))
    send(metrics, usual(1))
    assert not any(map(isnan, metrics.drift().distance.values()))


def test_what_is_older_than_the_window_is_forgotten() -> None:
    clock = Clock()
    metrics = watched(clock)
    send(metrics, [answer._replace(label=1) for answer in usual(1000)])
    clock.seconds = SECONDS * (SLOTS - 1) / SLOTS
    send(metrics, usual(1000))
    assert metrics.drift().images == 2000
    clock.seconds = SECONDS
    assert metrics.drift().images == 1000
    assert metrics.drift().distance["label"] < 0.01
    clock.seconds = 10 * SECONDS
    assert metrics.drift().images == 0
    send(metrics, usual(600))
    assert metrics.drift().images == 600


def test_the_window_is_of_all_workers_and_of_the_live_version(tmp_path: Path) -> None:
    clock = Clock()
    metrics, other = watched(clock, tmp_path), watched(clock, tmp_path)
    send(metrics, usual(300))
    send(other, usual(300))
    assert (metrics.drift().images, other.drift().images) == (600, 600)
    send(metrics, usual(100), version="3")
    assert metrics.drift().images == 600
    for each in (metrics, other):
        each.set_model("digits", "5", card())
    assert metrics.drift().images == 0
    send(other, usual(700), version="5")
    assert metrics.drift().images == 700


def test_a_worker_looks_at_so_many_between_two_flushes() -> None:
    metrics = watched(Clock())
    metrics.observe_predictions("4", Columns(usual(1000)))
    assert metrics.drift().images == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"label": [0.1] * 9},
        {"label": ["x"] * 10},
        {"label": [float("nan")] * 10},
        {"confidence": {"bounds": [0.5], "shares": [0.5, 0.5], "accuracy": [1.0]}},
        {"stroke": {}},
        {"ink": {"bounds": list(range(20)), "shares": [0.1] * 21}},
        {"accuracy": {}},
        {"rejection": []},
    ],
)
def test_a_damaged_reference_is_none(changes: dict[str, Any]) -> None:
    assert Reference.of_card(card(), list(Rejection))
    assert Reference.of_card(card(**changes), list(Rejection)) is None


def test_a_card_without_a_reference_has_no_drift() -> None:
    metrics = watched(Clock())
    metrics.set_model("digits", "5", {})
    send(metrics, usual(1000), version="5")
    report = metrics.drift()
    assert report.images == 0
    assert all(map(isnan, report.distance.values()))


def test_numbers_have_a_window_and_a_reference_of_their_own() -> None:
    metrics = watched(Clock())
    send(metrics, usual(600))
    read(metrics, numbers(900))
    report = metrics.number_drift()
    assert (metrics.drift().images, report.images) == (600, 900)
    assert max(report.distance.values()) < 0.02
    assert report.expected_accuracy["all"] == pytest.approx(0.1 * 0.4 + 0.2 * 0.7 + 0.7 * 0.9)
    assert report.reference_accuracy == {"all": 0.8, "accepted": 0.85}


def test_each_digit_of_a_number_counts_and_the_number_once() -> None:
    metrics = watched(Clock())
    one = [number._replace(digits=[number.digits[0]] * 2) for number in numbers(600)]
    changed = [digit._replace(label=1) for digit in one[0].digits]
    read(metrics, [number._replace(digits=[changed[0], number.digits[1]]) for number in one])
    distances = metrics.number_drift().distance
    half_ones = np.array([0.05, 0.55, *[0.05] * 8])
    assert distances["label"] == pytest.approx(distance(half_ones, np.full(10, 0.1)), abs=1e-6)
    assert distances["confidence"] < 0.01
    nothing = Number([], 0.0, RowRejection.NOT_A_NUMBER)
    read(metrics, [nothing] * 600)
    assert metrics.number_drift().distance["rejection"] > 0.4
    assert metrics.number_drift().distance["label"] == distances["label"]


def test_a_long_number_takes_the_room_of_its_digits() -> None:
    metrics = watched(Clock())
    digit = NumberDigit(1, line(2).digit)
    metrics.observe_numbers("4", [Number([digit] * 16, 0.9, None)] * 10)
    assert metrics.number_drift().images == 4


def test_the_live_version_has_a_reference_of_both_kinds() -> None:
    card = json.loads(
        (version_to_serve(ROOT / "models" / "digits") / "model_card.json").read_text()
    )
    assert Reference.of_card(card, list(Rejection))
    assert Reference.of_card(card, list(RowRejection), NUMBERS)


def test_the_distance_is_between_0_and_1() -> None:
    shares = np.array([0.5, 0.5, 0.0, 0.0])
    assert distance(np.array([7.0, 7, 0, 0]), shares) == 0
    assert distance(np.array([0.0, 0, 3, 0]), shares) == 1
    assert 0.2 < distance(np.array([1.0, 3, 0, 0]), shares) < 0.3
    assert isnan(distance(np.zeros(4), shares))

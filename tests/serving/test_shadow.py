from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from app.inference.classifier import Classifier, Compute, Rejection, Thresholds
from app.inference.grammar import Grammar
from app.inference.judge import RowRejection
from app.main import create_app
from app.serving.predictions import Prediction
from app.serving.shadow import MAX_WAITING_IMAGES, MAX_WAITING_ROWS, Shadow
from app.settings import Settings
from app.vision.normalize import Normalized
from tests.conftest import Image, export_stand_in, png, spoken
from tests.faults.server import wait_until
from tests.serving.test_reader import read, row, shipped


def sevens(images: Image) -> NDArray[np.float32]:
    """Every image is a 7, and the more surely the more ink it has."""
    scores = np.zeros((len(images), 11), np.float32)
    scores[:, 7] = images.max(axis=(1, 2)) / 255
    scores[:, 10] = 1
    return scores


def answer(label: int | None, rejected: Rejection | None = None, level: int = 255) -> Prediction:
    digit = np.full((28, 28), level, np.uint8)
    normalized = Normalized(digit, False, (0, 0, 28, 28), ())
    return Prediction(label, np.float32(0.9), np.full(10, 0.1, np.float32), rejected, normalized)


@contextmanager
def shadow_of(compute: Compute, *, numbers: bool = False) -> Iterator[tuple[Shadow, Counter[str]]]:
    """A shadow, and what it counts: of images, or of numbers."""
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def count(some: Mapping[str, int]) -> None:
        with lock:
            outcomes.update(some)

    counted = (lambda some: None, count) if numbers else (count, lambda some: None)
    shadow = Shadow(Classifier("digits", "6", {}, Thresholds(0.5, 0.5), compute), *counted)
    try:
        yield shadow, outcomes
    finally:
        shadow.close()


def test_where_it_differs_is_counted() -> None:
    with shadow_of(sevens) as (shadow, outcomes):
        shadow.offer([answer(7), answer(4), answer(7, Rejection.UNCERTAIN), answer(None)])
        shadow.offer([answer(7, level=50), answer(7, Rejection.UNCERTAIN, level=50)])
        wait_until(lambda: outcomes.total() == 5)
    assert outcomes == {"same": 2, "other_label": 1, "other_acceptance": 2}


def test_what_does_not_fit_is_dropped_and_nobody_waits() -> None:
    gate = threading.Event()

    def wait(images: Image) -> NDArray[np.float32]:
        gate.wait()
        return sevens(images)

    with shadow_of(wait) as (shadow, outcomes):
        shadow.offer([answer(7)])
        for _ in range(MAX_WAITING_IMAGES // 64 + 1):
            shadow.offer([answer(7)] * 64)
        assert 0 < outcomes["dropped"] <= 65
        assert outcomes["same"] == 0
        gate.set()
        wait_until(lambda: outcomes.total() == MAX_WAITING_IMAGES + 65)


def test_a_shadow_that_fails_goes_on() -> None:
    faults = [ValueError("no")]

    def fail_once(images: Image) -> NDArray[np.float32]:
        if faults:
            raise faults.pop()
        return sevens(images)

    with capture_logs() as lines, shadow_of(fail_once) as (shadow, outcomes):
        shadow.offer([answer(7)])
        wait_until(lambda: outcomes["failed"] == 1)
        shadow.offer([answer(7)])
        wait_until(lambda: outcomes["same"] == 1)
    assert [line["event"] for line in lines] == ["the shadow failed"]


def turned(images: Image) -> NDArray[np.float32]:
    """Every digit is taken for the next."""
    scores = shipped().compute(images)
    return np.concatenate((np.roll(scores[:, :10], 1, axis=1), scores[:, 10:]), axis=1)


def test_numbers_are_compared_by_their_texts() -> None:
    one, two = row("12"), row("404")
    blank = np.full((60, 200), 255, np.uint8)
    numbers = read(one, two, blank)
    with shadow_of(shipped().compute, numbers=True) as (shadow, outcomes):
        shadow.offer_numbers(numbers, Grammar())
        shadow.offer_numbers([numbers[0]._replace(rejected=RowRejection.UNCERTAIN)], Grammar())
        wait_until(lambda: outcomes.total() == 3)
    assert outcomes == {"same": 2, "other_acceptance": 1}
    with shadow_of(turned, numbers=True) as (shadow, outcomes):
        shadow.offer_numbers(numbers, Grammar())
        wait_until(lambda: outcomes.total() == 2)
    assert outcomes["other_text"]  # the row net, which is the same for both, may read one rightly


def test_the_shadow_reads_under_the_grammar_that_was_asked_for() -> None:
    amount = Grammar(pattern="#9.99")
    numbers = read(row("1250"), grammar=amount)
    assert numbers[0].text == "12.50"
    with shadow_of(shipped().compute, numbers=True) as (shadow, outcomes):
        shadow.offer_numbers(numbers, amount)
        wait_until(lambda: outcomes["same"] == 1)
        shadow.offer_numbers(numbers, Grammar())
        wait_until(lambda: outcomes["other_text"] == 1)


def test_rows_that_do_not_fit_are_dropped_and_those_that_fail_are_counted() -> None:
    gate = threading.Event()

    def wait(images: Image) -> NDArray[np.float32]:
        gate.wait()
        raise ValueError("no")

    (number,) = read(row("7"))
    with capture_logs(), shadow_of(wait, numbers=True) as (shadow, outcomes):
        shadow.offer_numbers([number] * (MAX_WAITING_ROWS + 2), Grammar())
        assert 1 <= outcomes["dropped"] <= 2
        gate.set()
        wait_until(lambda: outcomes.total() == MAX_WAITING_ROWS + 2)
    assert set(outcomes) == {"dropped", "failed"}


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("shadow")
    for number in (1, 2):
        export_stand_in(models / str(number))
    return models


def test_the_service_answers_with_the_live_version_alone(two_versions: Path) -> None:
    settings = Settings(models_dir=two_versions, model_version=1, shadow_version=2)
    with TestClient(create_app(settings)) as client:

        def images(outcome: str, of: str = "images") -> float | None:
            metrics = client.app_state["services"].metrics
            labels = {"version": "2", "outcome": outcome}
            figure: float | None = metrics.registry.get_sample_value(
                f"digits_shadow_{of}_total", labels
            )
            return figure

        assert images("same") == images("other_label") == images("dropped") == 0
        answered = client.post("/predict?normalize=false", content=png(spoken(7)))
        assert answered.json()["model"]["version"] == "1"
        wait_until(lambda: images("same") == 1)
        assert images("other_label") == 0
        assert images("same", "numbers") == images("other_text", "numbers") == 0
        assert client.post("/read", content=png(row("12"))).status_code == 200
        wait_until(lambda: images("same", "numbers") == 1)


def test_a_shadow_that_is_not_there_keeps_nobody_from_serving(two_versions: Path) -> None:
    settings = Settings(models_dir=two_versions, model_version=1, shadow_version=9)
    with capture_logs() as lines, TestClient(create_app(settings)) as client:
        assert client.get("/healthz").status_code == 200
        assert client.app_state["services"].shadow is None
    assert "no version 9" in next(line["reason"] for line in lines if line["event"] == "no shadow")

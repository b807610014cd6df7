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
from app.main import create_app
from app.serving.predictor import Prediction
from app.serving.shadow import MAX_WAITING_IMAGES, Shadow
from app.settings import Settings
from app.vision.normalize import Normalized
from tests.conftest import Image, export_stand_in, png, spoken
from tests.faults.server import wait_until


def sevens(images: Image) -> NDArray[np.float32]:
    """Every image is a 7, and the more surely the more ink it has."""
    scores = np.zeros((len(images), 11), np.float32)
    scores[:, 7] = images.max(axis=(1, 2)) / 255
    scores[:, 10] = 1
    return scores


def answer(label: int | None, rejected: Rejection | None = None, level: int = 255) -> Prediction:
    digit = np.full((28, 28), level, np.uint8)
    normalized = Normalized(digit, False, (0, 0, 28, 28), ())
    return Prediction(label, 0.9, np.full(10, 0.1, np.float32), rejected, normalized)


@contextmanager
def shadow_of(compute: Compute) -> Iterator[tuple[Shadow, Counter[str]]]:
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def count(some: Mapping[str, int]) -> None:
        with lock:
            outcomes.update(some)

    shadow = Shadow(Classifier("digits", "6", {}, Thresholds(0.5, 0.5), compute), count)
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


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("shadow")
    for number in (1, 2):
        export_stand_in(models / str(number))
    return models


def test_the_service_answers_with_the_live_version_alone(two_versions: Path) -> None:
    settings = Settings(models_dir=two_versions, model_version=1, shadow_version=2)
    with TestClient(create_app(settings)) as client:

        def images(outcome: str) -> float | None:
            metrics = client.app_state["services"].metrics
            labels = {"version": "2", "outcome": outcome}
            figure: float | None = metrics.registry.get_sample_value(
                "digits_shadow_images_total", labels
            )
            return figure

        assert images("same") == images("other_label") == images("dropped") == 0
        answered = client.post("/predict?normalize=false", content=png(spoken(7)))
        assert answered.json()["model"]["version"] == "1"
        wait_until(lambda: images("same") == 1)
        assert images("other_label") == 0


def test_a_shadow_that_is_not_there_keeps_nobody_from_serving(two_versions: Path) -> None:
    settings = Settings(models_dir=two_versions, model_version=1, shadow_version=9)
    with capture_logs() as lines, TestClient(create_app(settings)) as client:
        assert client.get("/healthz").status_code == 200
        assert client.app_state["services"].shadow is None
    assert "no version 9" in next(line["reason"] for line in lines if line["event"] == "no shadow")

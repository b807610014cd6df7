import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from app.errors import ModelError
from app.inference import loading
from app.inference.candidatenet import shipped_net
from app.inference.card import wilson
from app.inference.combination import RIVAL_FIGURES
from app.inference.grammar import Grammar
from app.inference.lattice import lattice_of
from app.inference.rowreader import RowReader
from app.inference.search import search
from app.inference.weights import WEIGHTS_FILE, shipped_weights, weights_of
from app.serving.reader import shipped_reader
from app.vision.normalize import normalize
from tests.conftest import ROOT
from tests.serving.test_reader import row
from training import candidatenet, numbers
from training.corpora.data import Digits


@pytest.fixture(scope="module")
def some() -> list[numbers.Row]:
    classifier = loading.load(ROOT / "models" / "digits" / "7")
    texts = ["1977", "20", "404", "35"]
    return numbers.read_rows(((text, row(text)) for text in texts), classifier)


def test_rows_are_read_as_the_service_reads_them(some: list[numbers.Row]) -> None:
    counted = numbers.tally(some, shipped_reader())
    assert counted.rows == 4
    assert counted.right == 4
    assert counted.right_accepted <= counted.accepted
    assert "| four | 4 | 1.0000" in counted.line("four")


def test_fitting_makes_the_texts_likelier(
    some: list[numbers.Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "STEPS", 8)
    fitted = numbers.fit(some)
    flat = {
        **fitted,
        "probability": 0.0,
        "net": 0.0,
        "digit": [0.0] * len(fitted["digit"]),
        "one": [0.0] * 3,
    }
    shipped = json.loads(WEIGHTS_FILE.read_text("utf-8"))
    for one in some:
        found = []
        for content in (fitted, flat):
            weights = weights_of(shipped | content)
            readings = search(lattice_of(one.found.cuts, one.evidence, weights), Grammar())
            found.append(readings.best[0])
        assert found[0].text == one.text
        assert found[0].probability > found[1].probability


def test_what_judges_is_fitted_to_the_weights(some: list[numbers.Row]) -> None:
    content = json.loads(WEIGHTS_FILE.read_text("utf-8"))
    blot = np.full((60, 160), 255, np.uint8)
    cv2.line(blot, (20, 20), (140, 40), 0, 6)
    outside = numbers.read_rows([("", blot)], loading.load(ROOT / "models" / "digits" / "7"))
    fitted = numbers.fit_judging(content, some, outside, loading.shipped_row_net())
    reader = RowReader(weights_of(fitted), loading.shipped_row_net())
    assert len(fitted["rivals"]) == RIVAL_FIGURES
    assert all(fitted[name] == content[name] for name in numbers.READING_WEIGHTS)
    assert numbers.tally(some, reader).right == 4


def test_judging_is_fitted_for_a_row_net_that_was_taught_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted_for = shipped_weights().row_net
    other = replace(shipped_weights(), row_net="another")
    monkeypatch.setattr(loading, "shipped_weights", lambda: other)
    with pytest.raises(ModelError):
        loading.load_row_net()
    assert numbers.taught_row_net().sha256 == fitted_for


def test_the_candidate_net_is_taught_on_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidatenet, "EPOCHS", 1)
    monkeypatch.setattr(candidatenet, "BATCH", 16)
    monkeypatch.setattr(numbers, "FITTED_KINDS", ("side by side",))
    monkeypatch.setattr(numbers, "TOUCHING", ("touching",))
    images = np.stack([normalize(row(str(label))).digit for label in range(10)])
    digits = Digits(images, np.arange(10, dtype=np.uint8))
    sets = numbers.Sets(digits, (digits, digits), (digits, digits))
    classifier = loading.load(ROOT / "models" / "digits" / "7")
    net = numbers.fitted_net(classifier, sets, count=3, seed=1)
    assert len(net.mean) == len(shipped_net().mean)
    assert net.output.shape == shipped_net().output.shape


def test_a_threshold_is_the_least_that_keeps_the_accepted_right() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    assert numbers.least_confidence(confidence, np.array([True, True, False, False]), 1.0) == 0.8
    assert numbers.least_confidence(confidence, np.array([True, False, True, False]), 0.6) == 0.7
    assert numbers.least_confidence(confidence, np.array([False] * 4), 0.9) == 1.0


def test_a_logistic_regression_divides() -> None:
    x = np.array([[1.0, -2], [1, -1], [1, 1], [1, 2]])
    weights = numbers.logistic(x, np.array([False, False, True, True]))
    assert ((x @ weights > 0) == [False, False, True, True]).all()


@pytest.mark.parametrize(("right", "count"), [(0, 10), (5, 10), (10, 10)])
def test_an_interval_holds_the_share(right: int, count: int) -> None:
    low, high = wilson(right, count)
    assert low - 1e-9 <= right / count <= high + 1e-9

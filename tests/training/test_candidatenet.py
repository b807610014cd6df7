from __future__ import annotations

import math

import numpy as np
import pytest

from app.inference.candidatenet import NONE
from app.inference.lattice import Lattice
from training import candidatenet

OUT = -math.inf


def lattice(spans: list[tuple[int, int]], labels: list[dict[int, float]]) -> Lattice:
    weights = np.full((len(spans), 10), -100.0)
    for row, some in zip(weights, labels, strict=True):
        for label, weight in some.items():
            row[label] = weight
    cuts = max(stop for _, stop in spans) + 1
    return Lattice(cuts, np.array(spans), weights, np.full(len(spans), OUT), {})


def test_candidates_off_the_way_that_says_the_text_are_none() -> None:
    row = lattice([(0, 1), (0, 2), (1, 2), (2, 3)], [{1: -1}, {4: 5}, {2: -1}, {7: 0}])
    assert candidatenet.align("127", row) == pytest.approx([1, NONE, 2, 7])
    assert candidatenet.align("47", row) == pytest.approx([NONE, 4, NONE, 7])


def test_what_is_left_out_is_none() -> None:
    row = lattice([(0, 1), (1, 2)], [{3: 0}, {1: -50}])
    row.noise[1] = -1.0
    assert candidatenet.align("3", row) == pytest.approx([3, NONE])


def test_a_text_that_no_way_says() -> None:
    row = lattice([(0, 1), (1, 2)], [{3: 0}, {1: 0}])
    assert candidatenet.align("3", row) is None
    assert candidatenet.align("311", row) is None


def test_a_net_learns_what_it_is_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidatenet, "EPOCHS", 30)
    monkeypatch.setattr(candidatenet, "BATCH", 32)
    rng = np.random.default_rng(1)
    labels = rng.choice(np.array([0, 3, NONE]), 384)
    inputs = rng.normal(0, 0.3, (384, 12)).astype(np.float32)
    inputs[np.arange(384), labels] += 3
    net = candidatenet.teach(inputs, labels, seed=1)
    odds = net.log_odds(inputs)
    assert odds.shape == (384, 10)
    assert (odds[labels == NONE] < 0).all()
    assert (odds[labels == 3].argmax(axis=1) == 3).all()
    assert (odds[labels == 3].max(axis=1) > 0).all()

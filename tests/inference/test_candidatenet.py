from __future__ import annotations

import numpy as np
import pytest

from app.inference.candidatenet import CandidateNet, Evidence, shipped_net
from app.inference.figures import figures


def evidence(count: int) -> Evidence:
    rng = np.random.default_rng(count)
    spans = np.array([(place, place + 1) for place in range(count)])
    scores = rng.random((count, 11), np.float32)
    digits = rng.integers(0, 256, (count, 28, 28), np.uint8)
    return Evidence(spans, digits, rng.random((count, 8), np.float32), scores)


def test_inputs_begin_with_the_figures_and_end_with_the_picture() -> None:
    some = evidence(3)
    inputs = some.inputs()
    facts = figures(some.spans, some.shapes, some.scores)
    assert inputs[:, : facts.shape[1]] == pytest.approx(facts, abs=1e-5)
    assert inputs[1, -1] == pytest.approx(some.digits[1, 26:, 26:].mean() / 255)


def test_the_shipped_net_fits_its_inputs() -> None:
    some = evidence(5)
    odds = shipped_net().log_odds(some.inputs())
    assert odds.shape == (5, 10)
    assert np.isfinite(odds).all()
    assert len(shipped_net().mean) == some.inputs().shape[1]


def test_odds_are_against_none() -> None:
    zeros = np.zeros(2, np.float32)
    bias = np.arange(11, dtype=np.float32)
    net = CandidateNet(
        zeros, zeros + 1, np.zeros((2, 3), np.float32), np.zeros(3, np.float32),
        np.zeros((3, 11), np.float32), bias,
    )  # fmt: skip
    assert net.log_odds(np.zeros((1, 2), np.float32))[0] == pytest.approx(bias[:10] - 10)

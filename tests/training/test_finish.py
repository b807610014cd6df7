import json
from pathlib import Path

import numpy as np
import pytest

from training import export, finish
from training.corpora import data


@pytest.mark.parametrize("outputs", [10, 11])
def test_scores_are_those_of_the_exported_graph(outputs: int) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (5, outputs)).astype(np.float32)
    scores = finish.scores_of(logits, 2.0)
    assert scores.shape == (5, 11)
    assert scores[:, :10].sum(axis=1) == pytest.approx(1)
    expected = 1 / (1 + np.exp(-logits[:, -1])) if outputs == 11 else scores[:, :10].max(axis=1)
    assert scores[:, 10] == pytest.approx(expected)


@pytest.mark.parametrize("figures", [{}, {"seeds": {"runs": 3}}], ids=["one", "several"])
def test_a_cascade_s_card_has_the_accurate_network_s_figures_over_seeds(
    figures: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = {"version": "1", "arch": "slim", "parameters": 2, "multiply_adds": 3, "figures": figures}
    (tmp_path / "model_card.json").write_text(json.dumps(card))
    monkeypatch.setattr(finish, "share_unsure", lambda *_: {"test": 0.5})
    nothing = data.Digits(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.uint8))
    split = data.Split(nothing, nothing, nothing, {})
    entry = finish.cascade_entry(
        lambda _: np.zeros((0, 11), np.float32), export.Cascade(tmp_path, 0.9), split
    )
    assert {name: entry[name] for name in figures} == figures
    assert ("seeds" in entry) == bool(figures)

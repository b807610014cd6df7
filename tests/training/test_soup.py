"""The mean of runs."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from training import model, soup
from training.corpora import data
from training.runs import WEIGHTS, Arguments, resumed

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PLAIN = Arguments(arch="cnn", epochs=2, batch_size=16)


def split_of(count: int) -> data.Split:
    """Digits of noise, which are enough to measure batch norms on."""
    rng = np.random.default_rng(1)
    digits = data.Digits(
        rng.integers(0, 256, (count, 28, 28), dtype=np.uint8),
        rng.integers(0, 10, count, dtype=np.uint8),
    )
    return data.Split(digits, digits, digits, {})


def run_of(folder: Path, arguments: Arguments, shift: float) -> Path:
    """A run whose weights are all `shift`."""
    folder.mkdir()
    network = model.build(arguments.arch)
    for weight in network.trainable_variables:
        weight.assign(np.full(weight.shape, shift, np.float32))
    network.save_weights(folder / WEIGHTS)
    (folder / "arguments.json").write_text(json.dumps(asdict(arguments)))
    history = [{"epoch": epoch, "loss": shift, "seconds": 10.0} for epoch in (1, 2)]
    (folder / "history.json").write_text(json.dumps(history))
    return folder


def test_a_mean_is_a_run_of_its_own(tmp_path: Path) -> None:
    runs = [
        run_of(tmp_path / str(seed), replace(PLAIN, seed=seed), shift)
        for seed, shift in ((1, 0.25), (2, 0.75))
    ]
    run = soup.cook(runs, split_of(64), tmp_path / "runs")
    arguments, network = resumed(run)
    assert arguments.mean_of == 2
    for weight in network.trainable_variables:
        np.testing.assert_allclose(weight.numpy(), 0.5)
    history = json.loads((run / "history.json").read_text())
    assert history == [{"epoch": epoch, "loss": 0.5, "seconds": 20.0} for epoch in (1, 2)]


def test_a_mean_measures_batch_norms_anew(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / str(seed), replace(PLAIN, seed=seed), 0.5) for seed in (1, 2)]
    _, network = resumed(soup.cook(runs, split_of(64), tmp_path / "runs"))
    for norm in model.batch_norms(network):
        assert not np.allclose(norm.moving_mean.numpy(), 0)


def test_runs_of_different_recipes_have_no_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data, "load", lambda path, any_data: split_of(64))
    runs = [
        run_of(tmp_path / "1", PLAIN, 0.5),
        run_of(tmp_path / "2", replace(PLAIN, epochs=3), 0.5),
    ]
    assert soup.main([*map(str, runs), "--runs", str(tmp_path / "runs")]) == 2
    assert "more than their seeds" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()

"""Digits are those that no version has learned from; golden ones are told from the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import digits
from tests.conftest import ROOT

MODELS = ROOT / "models" / "digits"


def test_held_back_are_the_last_training_images(tmp_path: Path) -> None:
    count = digits.HELD_BACK + 10
    images = np.zeros((count, 28, 28), np.uint8)
    images[-digits.HELD_BACK :] = 1
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=images, y_train=np.arange(count) % 10)
    found = digits.held_back(MODELS, path)
    assert len(found.images) == len(found.labels) == digits.HELD_BACK
    assert (found.images == 1).all()
    assert found.labels[0] == 0
    assert found.labels[-1] == 9


def test_golden_digits_are_sure_and_dark() -> None:
    images, probabilities = digits.golden(MODELS / "7")
    assert len(images) >= 10
    assert (probabilities.max(axis=1) > 0.9).all()
    assert set(probabilities.argmax(axis=1)) == set(range(10))
    assert images.mean(axis=(1, 2)).max() < 100

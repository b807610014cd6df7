"""MNIST's held-back digits: the source of everything that the benchmarks send."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HELD_BACK = 5_000
"""Training images at the end of MNIST that no version has learned from (`training/data.py`)."""
CERTAIN = 0.9
"""Least probability and digit score of a golden input that counts as a digit of its label."""

Images = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Digits:
    """Digits in MNIST's form.

    Attributes:
        images: uint8 [n,28,28], white ink on black.
        labels: int64 [n], 0–9.
        source: Where they come from, for the report.
    """

    images: Images
    labels: NDArray[np.int64]
    source: str


def held_back(models: Path, data: Path | None = None) -> Digits:
    """Return the held-back digits of an `mnist.npz`, else the golden inputs of all versions.

    Args:
        models: Folder of the version folders, for the golden inputs.
        data: Path of an `mnist.npz`; None takes the path that `DIGITS_DATA` names, if any.
    """
    named = os.environ.get("DIGITS_DATA")
    path = data or (Path(named) if named else None)
    if path is None:
        return _golden(models)
    with np.load(path) as mnist:
        images, labels = mnist["x_train"][-HELD_BACK:], mnist["y_train"][-HELD_BACK:]
    return Digits(images, labels.astype(np.int64), f"MNIST's held-back {HELD_BACK:,} digits")


def golden(model: Path) -> tuple[Images, NDArray[np.float32]]:
    """Return a version's golden digits [n,28,28] and its probabilities [n,10] of them.

    Left out are inputs that are no digits, of which the version is unsure, or with more ink than
    ground, which servers that invert bright images would turn around.
    """
    with np.load(model / "golden.npz") as file:
        images, probabilities = file["images"], file["probabilities"]
        kept = (file["digit_score"] > CERTAIN) & (probabilities.max(axis=1) > CERTAIN)
    kept &= (images.mean(axis=(1, 2)) < 100) & (images.max(axis=(1, 2)) > 0)
    return images[kept], probabilities[kept]


def _golden(models: Path) -> Digits:
    versions = sorted(path.parent for path in models.glob("*/golden.npz"))
    found = [golden(version) for version in versions]
    images = np.concatenate([images for images, _ in found])
    labels = np.concatenate([probabilities.argmax(axis=1) for _, probabilities in found])
    images, first = np.unique(images, axis=0, return_index=True)
    return Digits(images, labels[first], "the versions' golden inputs (no MNIST was named)")

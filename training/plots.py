"""Plots of a run. Each function writes a PNG at `path`; equal input gives equal bytes."""

from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.calibrate import Floats, Reliability

Images = NDArray[np.uint8]
Labels = NDArray[np.integer]
BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#a0aec0"


def learning_curves(history: list[dict[str, float]], path: Path) -> None:
    """Plot training loss and validation error by epoch."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [entry["epoch"] for entry in history]
    left.plot(epochs, [entry["loss"] for entry in history], color=BLUE)
    left.set(title="Training loss", xlabel="epoch", yscale="log")
    errors = [100 * (1 - entry["validation_accuracy"]) for entry in history]
    right.plot(epochs, errors, color=ORANGE)
    right.set(title="Validation error, averaged weights, %", xlabel="epoch")
    right.set_ylim(bottom=0)
    _save(figure, path)


def confusion(labels: Labels, predicted: Labels, path: Path) -> None:
    """Plot counts by digit and answer; right answers are pale, so that mistakes stand out."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    mistakes = counts - np.diag(np.diag(counts))
    figure = Figure(figsize=(5.2, 5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(int(mistakes.max()), 1) * 1.5)
    for row, column in np.argwhere(counts):
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8)
    axes.set(xlabel="answer", ylabel="digit", xticks=range(10), yticks=range(10))
    axes.set_title(f"{len(labels):,} digits, {mistakes.sum():,} mistakes")
    _save(figure, path)


def predictions(images: Images, labels: Labels, predicted: Labels, path: Path) -> None:
    """Plot the first 25 digits and their predicted labels; mistakes in orange."""
    titles = [str(answer) for answer in predicted[:25]]
    wrong = list(labels[:25] != predicted[:25])
    _grid(images[:25], titles, wrong, side=5, path=path)


def mistakes(images: Images, labels: Labels, probabilities: Floats, path: Path) -> None:
    """Plot the 36 mistakes of the greatest confidence: predicted / true label."""
    predicted = probabilities.argmax(axis=1)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    worst = [index for index in order if predicted[index] != labels[index]][:36]
    titles = [f"{predicted[index]} / {labels[index]}" for index in worst]
    _grid(images[worst], titles, [True] * len(worst), side=6, path=path)


def differences(images: Images, titles: list[str], wrong: list[bool], path: Path) -> None:
    """Plot the images that two versions answer differently; those that are `wrong` in orange."""
    _grid(images, titles, wrong, side=max(1, ceil(sqrt(len(images)))), path=path)


def reliability(curves: dict[str, Reliability], path: Path) -> None:
    """Plot the accuracy of answers by their confidence, one curve a data set."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    for name, curve in curves.items():
        full = curve.count > 0
        title = f"{name}: ECE {100 * curve.ece:.2f}%"
        axes.plot(curve.confidence[full], curve.accuracy[full], marker="o", ms=4, label=title)
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="upper left", fontsize=8)
    _save(figure, path)


def bars(values: dict[str, float], title: str, path: Path) -> None:
    """Plot a horizontal bar for each name, for accuracies in 0–1."""
    figure = Figure(figsize=(7, 0.8 + 0.24 * len(values)), layout="constrained")
    axes = figure.subplots()
    names = list(values)[::-1]
    shown = [100 * values[name] for name in names]
    axes.barh(names, shown, color=BLUE)
    for place, value in enumerate(shown):
        axes.text(value, place, f" {value:.1f}", va="center", fontsize=8)
    axes.set(title=title, xlim=(max(0, min(shown, default=0) - 10), 103))
    axes.tick_params(labelsize=8)
    _save(figure, path)


def _grid(images: Images, titles: list[str], wrong: list[bool], side: int, path: Path) -> None:
    figure = Figure(figsize=(side * 1.1, side * 1.25), layout="constrained")
    for place, cell in enumerate(figure.subplots(side, side, squeeze=False).flat):
        cell.axis("off")
        if place < len(images):
            cell.imshow(images[place], cmap="gray_r", vmin=0, vmax=255)
            cell.set_title(titles[place], color=ORANGE if wrong[place] else "black", fontsize=10)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    # No software version in the file, or every upgrade would change every picture.
    figure.savefig(path, dpi=110, metadata={"Software": None})

"""Plots of a run. Each function writes a PNG at `path`; equal input gives equal bytes."""

from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from app.inference.card import wilson
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
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="as it should be")
    for name, curve in curves.items():
        full = curve.count > 0
        title = f"{name}, {curve.count.sum():,} digits: ECE {100 * curve.ece:.2f}%"
        axes.plot(curve.confidence[full], curve.accuracy[full], marker="o", ms=4, label=title)
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="upper left", fontsize=8)
    _save(figure, path)


def bars(values: dict[str, float], of: int, title: str, path: Path) -> None:
    """Plot the accuracy of each name, of so many digits each, with its interval of 95%."""
    figure = Figure(figsize=(7, 1.1 + 0.24 * len(values)), layout="constrained")
    axes = figure.subplots()
    names = list(values)[::-1]
    shown = [100 * values[name] for name in names]
    edges = [wilson(round(values[name] * of), of) for name in names]
    below = [max(0.0, share - 100 * low) for share, (low, _) in zip(shown, edges, strict=True)]
    above = [max(0.0, 100 * high - share) for share, (_, high) in zip(shown, edges, strict=True)]
    axes.barh(names, shown, color=BLUE, xerr=[below, above], ecolor=GREY, capsize=2)
    first = max(0, 10 * int((min(shown, default=0) - 15) / 10))
    for place, value in enumerate(shown):
        axes.text(first, place, f" {value:.1f}", va="center", fontsize=8, color="white")
    reach = f"right, % of {of} digits each; the axis begins at {first}; lines are intervals of 95%"
    axes.set(title=title, xlabel=reach, xlim=(first, 101))
    axes.xaxis.label.set_fontsize(8)
    axes.tick_params(labelsize=8)
    _save(figure, path)


def sheet(rows: dict[str, Images], title: str, path: Path) -> None:
    """Plot rows of digits [n,28,28], two columns of rows, each with its name."""
    half = ceil(len(rows) / 2)
    wide = max(len(images) for images in rows.values())
    figure = Figure(figsize=(11, 0.42 * half + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=10)
    columns = figure.subplots(half, 2, squeeze=False)
    for axes in columns.flat:
        axes.axis("off")
    for place, (name, images) in enumerate(rows.items()):
        axes = columns[place % half, place // half]
        strip = np.hstack([np.pad(image, 1) for image in images])
        axes.imshow(strip, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
        axes.set_xlim(-30 * 5, 30 * wide)
        axes.text(-8, 15, name, ha="right", va="center", fontsize=8)
    _save(figure, path)


def failures(
    rows: Sequence[tuple[str, Images, Labels, NDArray[np.bool_]]], wide: int, path: Path
) -> None:
    """Plot rows of failures, each with a title: images, what is answered, whether it is accepted.

    Args:
        rows: Titles, images [n,28,28], answers [n] and whether they are accepted [n].
        wide: Images in a row, at most.
        path: Of the PNG.
    """
    figure = Figure(figsize=(3 + 0.6 * wide, 0.85 * len(rows) + 0.7), layout="constrained")
    figure.suptitle(
        "Accepted and right the least, and what fails, with the answer beneath: "
        "orange if accepted (wrong), grey if rejected",
        fontsize=9,
    )
    for axes, (title, images, answers, accepted) in zip(
        figure.subplots(len(rows), 1, squeeze=False).flat, rows, strict=True
    ):
        axes.axis("off")
        strip = np.hstack([np.pad(image, 2) for image in images])
        axes.imshow(strip, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
        axes.set(xlim=(-32 * 5, 32 * wide), ylim=(44, 0))
        axes.text(-8, 16, title, ha="right", va="center", fontsize=8)
        for place, (answer, taken) in enumerate(zip(answers, accepted, strict=True)):
            color = ORANGE if taken else GREY
            at = {"ha": "center", "va": "center", "fontsize": 8, "color": color}
            axes.text(32 * place + 16, 38, str(answer), **at)
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

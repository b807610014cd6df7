"""The reference: what a version's predictions are like for digits as they should be, on its card.

    python -m training.reference models/digits/5                    scenes of held-back digits
    python -m training.reference models/digits/5 --images FOLDER    your own labelled images

A service compares what comes with it: `digits_drift`, `digits_expected_accuracy`. Pictures that a
service gets are of one kind rather than of all kinds; some 1,000 of its own, labelled, make the
better reference. The manifest is written anew, and a server has the reference when it loads the
version the next time.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import ModelError
from app.inference.classifier import Images, Rejection, Thresholds
from app.vision.stroke import measure
from training import export
from training.calibrate import Floats
from training.corpora import data, folder, scenes
from training.evaluate import Folder

SEED = 2028
"""Seed of the scenes: others than those of the gate and of `training.evaluate`."""
SCENES_PER_KIND = 200
LEAST = 500
CONFIDENCE_BOUNDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995)
BINS = 10
"""Bins of ink and stroke, with as many of the reference's digits in each."""
PRIOR = 10
"""Predictions whose accuracy is their confidence, added to each bin: one may hold a few dozen."""

Entry = dict[str, Any]


def reference(
    version: Folder, images: Images, labels: NDArray[np.uint8], blank: NDArray[np.bool_]
) -> Entry:
    """Return the card's entry.

    Args:
        version: The version.
        images: [n,28,28], normalized.
        labels: [n].
        blank: [n], those without ink.
    """
    scores = version.classifier(images[~blank])
    right = scores[:, :10].argmax(axis=1) == labels[~blank]
    confidence = scores[:, :10].max(axis=1)
    reasons = _reasons(confidence, scores[:, 10], version.classifier.thresholds)
    accepted = np.array([reason == "accepted" for reason in reasons])
    writing = measure(images[~blank])
    bins = np.searchsorted(CONFIDENCE_BOUNDS, confidence)
    count = np.bincount(bins, minlength=len(CONFIDENCE_BOUNDS) + 1)
    believed = np.bincount(bins, confidence, minlength=len(count)) / np.maximum(count, 1)
    accuracy = np.bincount(bins, right, minlength=len(count)) + PRIOR * believed
    names = ("accepted", *Rejection)
    rejection = [*reasons, *([str(Rejection.BLANK)] * int(blank.sum()))]
    return {
        "images": len(images),
        "accuracy": {
            "all": round(float(right.mean()), 6),
            "accepted": round(float(right[accepted].mean()), 6),
        },
        "label": _shares(np.bincount(scores[:, :10].argmax(axis=1), minlength=10)),
        "rejection": {
            str(name): round(rejection.count(name) / len(rejection), 6) for name in names
        },
        "confidence": {
            "bounds": list(CONFIDENCE_BOUNDS),
            "shares": _shares(count),
            "accuracy": np.round(accuracy / np.maximum(count + PRIOR * (count > 0), 1), 6).tolist(),
        },
        "ink": _in_equal_bins(writing.ink),
        "stroke": _in_equal_bins(writing.stroke),
    }


def _reasons(confidence: Floats, digit_score: Floats, thresholds: Thresholds) -> list[str]:
    pairs = zip(confidence.tolist(), digit_score.tolist(), strict=True)
    return [str(thresholds.rejection(*pair) or "accepted") for pair in pairs]


def _in_equal_bins(values: Floats) -> Entry:
    bounds = np.unique(np.quantile(values, np.arange(1, BINS) / BINS).round(6))
    counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds) + 1)
    return {"bounds": bounds.tolist(), "shares": _shares(counts)}


def _shares(counts: NDArray[np.integer]) -> list[float]:
    shares: list[float] = (counts / counts.sum()).round(6).tolist()
    return shares


def of_scenes(version: Folder, held_back: data.Digits) -> Entry:
    """Return the reference by scenes of held-back digits."""
    count = SCENES_PER_KIND * len(scenes.KINDS)
    pool = scenes.pool(held_back.images, held_back.labels, count=count, seed=SEED)
    blank = np.asarray(~pool.digits.any(axis=(1, 2)), bool)
    made_of = f"{count} scenes of the {len(held_back)} digits of MNIST that were held back"
    return {"made_of": made_of, **reference(version, pool.digits, pool.labels, blank)}


def of_folder(version: Folder, images: Path) -> Entry:
    """Return the reference by labelled images.

    Raises:
        DataError: They can't be read, or are too few.
    """
    own = folder.read(images)
    for word in own.words():
        print(word, file=sys.stderr)
    if len(own) < LEAST:
        raise data.DataError(f"{images}: {len(own)} images can be used; {LEAST} are the least.")
    made_of = f"{len(own)} images of the service's own"
    return {"made_of": made_of, **reference(version, own.images, own.labels, own.blank)}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.reference", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("version", type=Path, help="the version's folder, whose card is written")
    add("--images", type=Path, metavar="FOLDER", help="labelled images of your own")
    add("--data", type=Path, default=data.path_from_environment(), help="a local mnist.npz")
    add("--any-data", action="store_true", help="accept arrays that are not MNIST's")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(argv)
    try:
        with redirect_stdout(sys.stderr):  # for the log of loading
            version = Folder(options.version)
        if options.images:
            entry = of_folder(version, options.images)
        else:
            split = data.load(options.data, any_data=options.any_data)
            entry = of_scenes(version, split.validation)
    except (ModelError, data.DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    export.write_card(options.version, export.read_card(options.version) | {"reference": entry})
    print(f"{options.version}: the reference is of {entry['made_of']}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

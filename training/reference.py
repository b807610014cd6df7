"""The reference: what a version's predictions are like for digits as they should be, on its card.

    python -m training.reference models/digits/7                    held-back digits: scenes, rows
    python -m training.reference models/digits/7 --images FOLDER    your own labelled images
    python -m training.reference models/digits/7 --numbers FOLDER   your own labelled rows

A service compares what comes with it: `digits_drift`, `digits_expected_accuracy`, and the same of
numbers. Pictures that a service gets are of one kind rather than of all kinds; some 1,000 of its
own, labelled, make the better reference. The manifest is written anew, and a server has the
reference when it loads the version the next time.

The reference of numbers is of the version and of the weights that rows are read by: make it anew
after `training.numbers` has fitted these.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import ImageError, ModelError
from app.inference.classifier import Images, Rejection
from app.inference.judge import RowRejection
from app.observe.answers import Answer, of_number
from app.observe.drift import ACCEPTED, NUMBERS, PREDICTIONS
from app.vision.decode import decode
from app.vision.grayscale import GrayImage
from app.vision.stroke import measure
from training import export, numbers
from training.calibrate import Floats
from training.corpora import data, folder, rows, scenes
from training.evaluate import Folder

SEED = 2028
"""Seed of the scenes: others than those of the gate and of `training.evaluate`."""
SCENES_PER_KIND = 200
ROWS_PER_KIND = 200
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
    """Return the card's entry for predictions.

    Args:
        version: The version.
        images: [n,28,28], normalized.
        labels: [n].
        blank: [n], those without ink.
    """
    shown = images[~blank]
    scores = version.classifier(shown)
    found, confidence = scores[:, :10].argmax(axis=1), scores[:, :10].max(axis=1)
    pairs = zip(confidence.tolist(), scores[:, 10].tolist(), strict=True)
    rejected = [version.classifier.thresholds.rejection(*pair) for pair in pairs]
    answers = [
        Answer((label,), sure, why, (digit,))
        for label, sure, why, digit in zip(
            found.tolist(), confidence.tolist(), rejected, shown, strict=True
        )
    ]
    right = [*(found == labels[~blank]).tolist(), *[False] * int(blank.sum())]
    empty = Answer((), 0.0, Rejection.BLANK, ())
    return entry_of([*answers, *[empty] * int(blank.sum())], right, Rejection)


def entry_of(answers: Sequence[Answer], right: Sequence[bool], reasons: Iterable[str]) -> Entry:
    """Return the card's entry.

    Args:
        answers: Of the reference.
        right: Which of them are right.
        reasons: For which an answer can be rejected.
    """
    is_shown = [bool(each.labels) for each in answers]
    shown = [each for each in answers if each.labels]
    is_right = np.array(right, bool)[is_shown]
    confidence = np.array([each.confidence for each in shown])
    accepted = np.array([each.rejected is None for each in shown])
    writing = measure(np.stack([digit for each in shown for digit in each.digits]))
    bins = np.searchsorted(CONFIDENCE_BOUNDS, confidence)
    count = np.bincount(bins, minlength=len(CONFIDENCE_BOUNDS) + 1)
    believed = np.bincount(bins, confidence, minlength=len(count)) / np.maximum(count, 1)
    accuracy = np.bincount(bins, is_right, minlength=len(count)) + PRIOR * believed
    rejected = [str(each.rejected or ACCEPTED) for each in answers]
    return {
        "images": len(answers),
        "accuracy": {
            "all": round(float(is_right.mean()), 6),
            "accepted": round(float(is_right[accepted].mean()), 6),
        },
        "label": _shares(np.bincount([a for each in shown for a in each.labels], minlength=10)),
        "rejection": {
            str(name): round(rejected.count(name) / len(rejected), 6)
            for name in (ACCEPTED, *reasons)
        },
        "confidence": {
            "bounds": list(CONFIDENCE_BOUNDS),
            "shares": _shares(count),
            "accuracy": np.round(accuracy / np.maximum(count + PRIOR * (count > 0), 1), 6).tolist(),
        },
        "ink": _in_equal_bins(writing.ink),
        "stroke": _in_equal_bins(writing.stroke),
    }


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


def number_reference(version: Folder, pictures: Iterable[tuple[str, GrayImage]]) -> Entry:
    """Return the card's entry for numbers, by pictures of rows [h,w] with their texts."""
    read = [*numbers.read_numbers(pictures, version.classifier)]
    answers = [of_number(number) for _, number in read]
    return entry_of(answers, [number.text == text for text, number in read], RowRejection)


def of_rows(version: Folder, held_back: data.Digits) -> Entry:
    """Return the reference by rows of those held-back digits that no weights were fitted to."""
    half = len(held_back) // 2
    digits = data.Digits(held_back.images[half:], held_back.labels[half:])
    pictures = [
        picture
        for number, kind in enumerate(rows.KINDS)
        for picture in numbers.made(
            digits, kind, numbers.LENGTHS, ROWS_PER_KIND, SEED * 100 + number
        )
    ]
    made_of = (
        f"{len(pictures)} rows, of {len(rows.KINDS)} kinds and of {numbers.LENGTHS[0]} to "
        f"{numbers.LENGTHS[-1]} digits, of {len(digits)} digits of MNIST that were held back"
    )
    return {"made_of": made_of, **number_reference(version, pictures)}


def of_own_rows(version: Folder, images: Path) -> Entry:
    """Return the reference by labelled pictures of rows.

    Raises:
        DataError: They can't be read, or are too few.
    """
    pictures = []
    for entry in folder.listed(images):
        if entry.label.isdigit():
            try:
                gray = decode((images / entry.name).read_bytes()).gray
            except (OSError, ImageError) as error:
                print(f"{entry.name} can't be read ({error}).", file=sys.stderr)
                continue
            pictures.append((entry.label, gray))
    if len(pictures) < LEAST:
        raise data.DataError(f"{images}: {len(pictures)} rows can be used; {LEAST} are the least.")
    made_of = f"{len(pictures)} rows of the service's own"
    return {"made_of": made_of, **number_reference(version, pictures)}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.reference", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("version", type=Path, help="the version's folder, whose card is written")
    add("--images", type=Path, metavar="FOLDER", help="labelled images of your own")
    add("--numbers", type=Path, metavar="FOLDER", help="labelled rows of digits of your own")
    add("--data", type=Path, default=data.path_from_environment(), help="a local mnist.npz")
    add("--any-data", action="store_true", help="accept arrays that are not MNIST's")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(argv)
    try:
        with redirect_stdout(sys.stderr):  # for the log of loading
            version = Folder(options.version)
        entries: dict[str, Entry] = {}
        if options.images:
            entries[PREDICTIONS.entry] = of_folder(version, options.images)
        if options.numbers:
            entries[NUMBERS.entry] = of_own_rows(version, options.numbers)
        if not entries:
            split = data.load(options.data, any_data=options.any_data)
            entries[PREDICTIONS.entry] = of_scenes(version, split.validation)
            entries[NUMBERS.entry] = of_rows(version, split.validation)
    except (ModelError, data.DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    export.write_card(options.version, export.read_card(options.version) | entries)
    for name, entry in entries.items():
        print(f"{options.version}: {name} is of {entry['made_of']}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Validation: the collections of digits that every choice is made on.

The seed, the temperature, the thresholds of acceptance and of the cascade come from these, so that
no single collection decides what a digit is: MNIST's held-back digits, and files that the command
line names, such as another data set, held-back fonts, strokes of another seed, and scenes. None is
learned from, and none is a test set.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from app.inference.classifier import Compute, Scores, Thresholds
from app.vision.decode import decode
from app.vision.normalize import normalize
from training import calibrate, evaluate
from training.corpora import corruptions, data, mixture

Collections = dict[str, data.Digits]
MNIST, ALTERED = "mnist", "altered"

ACCEPTED_BY_SCORE, ACCEPTED_BY_CONFIDENCE = 0.975, 0.99
"""Shares of each collection's readable digits that the thresholds accept: together 96.5% of the
hardest, and more of the others. At 99% of each, version 5 rejected 88% of outliers, for 96%."""


def altered(split: data.Split) -> data.Digits:
    """Return the held-back digits, each altered in one of the kinds of `corruptions`."""
    images = corruptions.some(split.validation.images, np.random.default_rng(0))
    return data.Digits(images, split.validation.labels)


def collections(split: data.Split, files: Iterable[Path] = ()) -> Collections:
    """Return MNIST's held-back digits, the same altered, and the digits of each file by its stem.

    Raises:
        DataError: A file is neither a pool nor a data set.
    """
    own = {MNIST: split.validation, ALTERED: altered(split)}
    return own | {file.stem: read(file) for file in files}


def read(file: Path) -> data.Digits:
    """Read a pool of `training.corpora`, or another data set's digits as a scanner sends them.

    Raises:
        DataError: The file is missing, or neither.
    """
    try:
        return mixture.read_digits(file)
    except KeyError:
        other = data.load_other(file)
    except (OSError, ValueError) as error:
        raise data.DataError(f"{file}: no pool of digits: {error}") from error
    scans = [normalize(decode(evaluate.scan(image)).gray).digit for image in other.images]
    return data.Digits(np.stack(scans), other.labels)


def others(held_back: Collections) -> Collections:
    """Return the collections that are not altered arrays: digits that a person can read."""
    return {name: digits for name, digits in held_back.items() if name != ALTERED}


def thresholds(compute: Compute, held_back: Collections) -> Thresholds:
    """Return the thresholds that accept the promised shares of every collection's readable digits.

    A digit is readable if its label is the most probable one.
    """
    scores = [readable(compute(digits.images), digits) for digits in others(held_back).values()]
    return Thresholds(
        digit_score=min(
            calibrate.threshold(each[:, 10], accepted=ACCEPTED_BY_SCORE) for each in scores
        ),
        confidence=min(
            calibrate.threshold(each[:, :10].max(axis=1), accepted=ACCEPTED_BY_CONFIDENCE)
            for each in scores
        ),
    )


def readable(scores: Scores, digits: data.Digits) -> Scores:
    """Return the scores of the digits whose label was found, or all where none was."""
    right = scores[:, :10].argmax(axis=1) == digits.labels
    return scores[right] if right.any() else scores


def sets_for_cascade(held_back: Collections) -> list[data.Digits]:
    """Return MNIST, its altered digits, and all other collections as one.

    In each of them the fast network of a cascade must be no worse where it answers.
    """
    own = [held_back[MNIST], held_back[ALTERED]]
    rest = [digits for name, digits in held_back.items() if name not in {MNIST, ALTERED}]
    return [*own, mixture.together(rest)] if rest else own


def measured(compute: Compute, chosen: Thresholds, held_back: Collections) -> dict[str, Any]:
    """Measure each collection: right, accepted, right among the accepted, calibration."""
    figures = {}
    for name, digits in held_back.items():
        answers = evaluate.judge(compute(digits.images), chosen)
        right = answers.labels == digits.labels
        figures[name] = {
            "digits": len(digits),
            "accuracy": evaluate.share(right),
            "accepted": evaluate.share(answers.accepted),
            "accuracy_of_accepted": evaluate.share(right[answers.accepted]),
            "ece": round(calibrate.reliability(answers.probabilities, digits.labels).ece, 6),
        }
    return figures

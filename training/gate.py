"""The gate: what a candidate must not be worse at than the live version, and by how much.

`CHECKS` is the whole of it. Both versions are measured in this process, on the same images, none of
which training learns from: the 5,000 held-back digits of MNIST, clean, altered and as scenes;
outliers of kinds that are held back; and a folder of your own images, if there is one. The test set
stays closed. A version whose manifest, signature or golden answers do not hold can't be loaded, and
does not come as far as the first check.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.errors import ModelError
from app.inference.classifier import Images
from training import calibrate, evaluate, speed
from training.corpora import corruptions, data, folder, outliers, scenes
from training.evaluate import Answers, share

SEED = 2027
"""Seed of all images that are made for the gate: others than those of `training.evaluate`."""
SCENES_PER_KIND = 20
OUTLIERS = 1_000
TIMED = 256
"""Digits whose classification is timed."""

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Check:
    """A figure, and how much worse a candidate's may be than the live version's.

    Attributes:
        name: Of the figure.
        margin: The largest loss; of a `relative` figure, as a share of the live version's.
        reason: For the margin.
        more_is_better: False for errors and durations.
        relative: The figure has no scale of its own.
    """

    name: str
    margin: float
    reason: str
    more_is_better: bool = True
    relative: bool = False

    def loss(self, live: float, candidate: float) -> float:
        """Return how much worse the candidate is; negative where it is better."""
        loss = live - candidate if self.more_is_better else candidate - live
        return loss / live if self.relative else loss


CHECKS = (
    Check("accuracy", 0.002, "10 of 5,000 digits: three standard deviations of equal networks"),
    Check("accuracy_altered", 0.005, "25 of 5,000, as above"),
    Check("accuracy_scenes", 0.015, "10 of 660 scenes, as above"),
    Check("calibration_error", 0.005, "an honest 95% may say 95.5%", more_is_better=False),
    Check("accepted", 0.005, "25 of 5,000 digits more are rejected"),
    Check("outliers_rejected", 0.02, "20 of 1,000 images without a digit more are answered"),
    Check("microseconds_alone", 0.5, "noise is 10%", more_is_better=False, relative=True),
    Check("microseconds_full", 0.5, "noise is 10%", more_is_better=False, relative=True),
    Check("accuracy_own", 0.01, "1 of 100 of your own images"),
)


@dataclass(frozen=True, slots=True)
class Collection:
    """The images that versions are measured on.

    Attributes:
        digits: Digits that were held back from training.
        altered: The same, altered as arrays.
        scenes: Scenes of them, normalized.
        outliers: [n,28,28], images without a digit.
        own: Your own images, if there are any.
    """

    digits: data.Digits
    altered: data.Digits
    scenes: data.Digits
    outliers: Images
    own: folder.LabelledImages | None


def collect(held_back: data.Digits, own: folder.LabelledImages | None) -> Collection:
    """Make the images of the gate from held-back digits; takes seconds."""
    rng = np.random.default_rng(SEED)
    count = SCENES_PER_KIND * len(scenes.KINDS)
    rendered = scenes.pool(held_back.images, held_back.labels, count=count, seed=SEED)
    unknown, _ = outliers.sample(OUTLIERS, rng, held_back.images, held_back.labels, held_back=True)
    return Collection(
        digits=held_back,
        altered=data.Digits(corruptions.some(held_back.images, rng), held_back.labels),
        scenes=data.Digits(rendered.digits, rendered.labels),
        outliers=unknown,
        own=own,
    )


def measure(versions: tuple[evaluate.Folder, ...], collection: Collection) -> list[Figures]:
    """Measure the figures of each version; the durations of all, beside each other.

    Raises:
        ModelError: A version fails on an image.
    """
    figures = [_figures_or_failure(version, collection) for version in versions]
    computes = [version.classifier for version in versions]
    for name, size in (("alone", speed.ALONE), ("full", speed.FULL)):
        durations = speed.microseconds(computes, collection.digits.images[:TIMED], size)
        for each, duration in zip(figures, durations, strict=True):
            each[f"microseconds_{name}"] = duration
    return figures


def _figures_or_failure(version: evaluate.Folder, collection: Collection) -> Figures:
    try:
        return _figures(version, collection)
    except Exception as error:  # a model raises anything
        name = version.classifier.version
        raise ModelError(
            f"Version {name} fails on images of the gate ({type(error).__name__})."
        ) from error


def _figures(version: evaluate.Folder, collection: Collection) -> Figures:
    digits, altered = collection.digits, collection.altered
    clean, changed = version.arrays(digits.images), version.arrays(altered.images)
    rendered = version.arrays(collection.scenes.images)
    both = np.concatenate([clean.probabilities, changed.probabilities])
    labels = np.concatenate([digits.labels, altered.labels])
    figures = {
        "accuracy": _accuracy(clean, digits),
        "accuracy_altered": _accuracy(changed, altered),
        "accuracy_scenes": _accuracy(rendered, collection.scenes),
        "calibration_error": calibrate.reliability(both, labels).ece,
        "accepted": share(clean.accepted),
        "outliers_rejected": share(~version.arrays(collection.outliers).accepted),
    }
    if own := collection.own:
        answers = version.normalized(own.images, own.blank)
        figures["accuracy_own"] = share((answers.labels == own.labels) & ~own.blank)
    return figures


def _accuracy(answers: Answers, digits: data.Digits) -> float:
    return share(answers.labels == digits.labels)


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a check."""

    check: Check
    live: float
    candidate: float

    @property
    def passed(self) -> bool:
        """Tell whether the candidate is worse by no more than the margin."""
        return self.check.loss(self.live, self.candidate) <= self.check.margin + 1e-9

    def __str__(self) -> str:
        unit = " of the live version's" if self.check.relative else ""
        way = "-" if self.check.more_is_better else "+"
        digits = 1 if self.check.relative else 4
        return (
            f"{'passed' if self.passed else 'FAILED'}  {self.check.name:18}  "
            f"live {self.live:8.{digits}f}  candidate {self.candidate:8.{digits}f}  "
            f"allowed {way}{self.check.margin:g}{unit} ({self.check.reason})"
        )


def judge(live: Figures, candidate: Figures) -> Iterator[Result]:
    """Yield the outcome of each check whose figure was measured."""
    for check in CHECKS:
        if check.name in live:
            yield Result(check, live[check.name], candidate[check.name])


def run(live: Path, candidate: Path, collection: Collection) -> list[Result]:
    """Load both versions, measure and compare them.

    Raises:
        ModelError: A version can't be loaded, or fails on an image.
    """
    versions = evaluate.Folder(live), evaluate.Folder(candidate)
    return list(judge(*measure(versions, collection)))

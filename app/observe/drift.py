"""Drift and accuracy without labels: what has come lately, against the reference of the card.

A sample of the answers is counted in bins, in slots of time that are used in turn, so that the
window is bounded and moves on. The slots are cells: the window is that of all workers together, and
a worker that is killed or replaced takes nothing of it along.

Distance: Jensen–Shannon's, by the logarithm to base 2: 0 where the distributions are equal, 1 where
they have nothing in common. It needs no smoothing where a bin of the reference is empty.

Expected accuracy: the mean, over the answers, of the accuracy that answers of such a confidence
had in the reference (confidence-based performance estimation; Garg et al. 2022,
arXiv 2201.04234, compare such estimates). It can't see mistakes that the model is sure of.

Predictions and numbers have a window and a reference each. A number's confidence is that all of it
is right, and its digits were cut from a row: a reference of single pictures would not describe it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any, NamedTuple, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from .answers import Answer
from .cells import Cells, Key, Snapshot

log = structlog.get_logger()

Floats = NDArray[np.float64]

FEATURES = ("label", "rejection", "confidence", "ink", "stroke")
ANSWERS = ("all", "accepted")
"""Of which answers the accuracy is estimated: of those for images that are not blank."""
ACCEPTED = "accepted"
MAX_BINS = 16
SLOTS = 12
"""Parts of the window; a part falls out of it at a time."""
MIN_IMAGES = 500
"""Images of the window below which nothing is said. The distance of as many from their own
reference, by chance, is 0.06 (√(bins − 1) / √(8 · ln 2 · images))."""
SAMPLE = 64
"""Digits that a worker looks at between two flushes, and those of one number more: 128 a second."""

HEAD = 2
"""Cells before the bins: the slot's turn, and the version."""
HISTOGRAMS = (*FEATURES, "confidence_accepted")
WIDTH = HEAD + MAX_BINS * len(HISTOGRAMS)


class Kind(NamedTuple):
    """What kind of answers a window counts."""

    family: str
    """Of the cells."""
    entry: str
    """The name of its reference on a card."""


PREDICTIONS = Kind("drift", "reference")
NUMBERS = Kind("number_drift", "number_reference")


class Writing(Protocol):
    """Figures of n digits."""

    @property
    def ink(self) -> Floats:
        """Share of ink [n]."""

    @property
    def stroke(self) -> Floats:
        """Width of the strokes [n]."""


Measure = Callable[[NDArray[np.uint8]], Writing]
"""Figures of digits [n,28,28]."""


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """What a version's answers are like for writing as it should be: an entry of its card.

    Attributes:
        bounds: Upper bounds of the bins of confidence, ink and stroke, without the last.
        shares: Of each feature, in each bin.
        accuracy: Of answers by the bin of their confidence.
        accuracy_of: Of `ANSWERS`, as it was measured.
    """

    bounds: Mapping[str, Floats]
    shares: Mapping[str, Floats]
    accuracy: Floats
    accuracy_of: Mapping[str, float]

    @classmethod
    def of_card(
        cls, card: Mapping[str, Any], reasons: Sequence[str], kind: Kind = PREDICTIONS
    ) -> Reference | None:
        """The reference that a card has; None without, or where it can't be used.

        Args:
            card: A version's.
            reasons: For which an answer can be rejected.
            kind: Of answers.
        """
        entry = card.get(kind.entry)
        if entry is None:
            return None
        try:
            shares = {name: np.array(entry[name]["shares"], float) for name in FEATURES[2:]}
            bounds = {name: np.array(entry[name]["bounds"], float) for name in FEATURES[2:]}
            shares["label"] = np.array(entry["label"], float)
            rejection = entry["rejection"]
            names = (ACCEPTED, *reasons)
            shares["rejection"] = np.array([rejection.get(name, 0.0) for name in names])
            accuracy = np.array(entry["confidence"]["accuracy"], float)
            _check(shares, bounds, accuracy)
            accuracy_of = {name: float(entry["accuracy"][name]) for name in ANSWERS}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            version, reason = card.get("version"), str(error)
            log.warning("reference can't be used", version=version, entry=kind.entry, reason=reason)
            return None
        return cls(bounds, shares, accuracy, accuracy_of)


def _check(shares: Mapping[str, Floats], bounds: Mapping[str, Floats], accuracy: Floats) -> None:
    widths = {name: len(each) + 1 for name, each in bounds.items()} | {"label": 10}
    for name, each in shares.items():
        if len(each) > MAX_BINS or len(each) != widths.get(name, len(each)):
            raise ValueError(f"{name} has {len(each)} bins")
        if not (np.isfinite(each).all() and each.min() >= 0 and each.sum() > 0):
            raise ValueError(f"{name} has no shares")
    if len(accuracy) != widths["confidence"]:
        raise ValueError("the accuracy is not by the bins of confidence")


class Report(NamedTuple):
    """The window, against the reference; NaN where there is none, or too little has come.

    Attributes:
        images: Answers in the window, one for each image.
        distance: By feature, in 0–1.
        expected_accuracy: By `ANSWERS`.
        reference_accuracy: By `ANSWERS`.
    """

    images: int
    distance: Mapping[str, float]
    expected_accuracy: Mapping[str, float]
    reference_accuracy: Mapping[str, float]


@dataclass(slots=True)
class DriftWindow:
    """Counts a sample of this process's answers, and reports on those of all workers.

    Its callers hold a lock. What was not flushed is lost with a worker that is killed: half a
    second's sample.

    Args:
        cells: Where it is counted.
        measure: Measures the writing of digits; None where nothing is to be looked at.
        reasons: For which an answer can be rejected.
        seconds: Of the window.
        clock: Seconds that every process of this machine counts alike.
        kind: Of the answers.
    """

    cells: Cells
    measure: Measure | None
    reasons: Sequence[str]
    seconds: float
    clock: Callable[[], float] = time.monotonic
    kind: Kind = PREDICTIONS
    _version: str = ""
    _reference: Reference | None = None
    _sample: list[Answer] = field(default_factory=list)
    _room: int = SAMPLE

    def follow(self, version: str, card: Mapping[str, Any]) -> None:
        """Look at the answers of this version from now on."""
        self._version = version
        self._reference = Reference.of_card(card, self.reasons, self.kind) if self.measure else None
        self._empty()

    def _empty(self) -> list[Answer]:
        sample, self._sample = self._sample, []
        self._room = SAMPLE
        return sample

    @property
    def has_room(self) -> bool:
        """Whether an answer would be taken now."""
        return self._room > 0 and self._reference is not None

    def offer(self, version: str, answers: Iterable[Answer]) -> None:
        """Take as many of `answers` as there is room for until the next flush."""
        if version != self._version or not self.has_room:
            return
        for answer in answers:
            self._sample.append(answer)
            self._room -= max(1, len(answer.labels))
            if self._room <= 0:
                return

    def flush(self) -> None:
        """Count what was taken: 64 take 0.5 ms."""
        if not self._sample or not self._reference or not self.measure:
            return
        counts = counted(self._empty(), self._reference, self.reasons, self.measure)
        start = self._open_slot()
        bins = np.concatenate([counts[name] for name in HISTOGRAMS]).tolist()
        for cell, count in enumerate(bins, start + HEAD):
            self.cells.values[cell] += count

    def _open_slot(self) -> int:
        """Return the first cell of the slot whose turn it is, empty where it was another's."""
        turn = self._turn()
        values = self.cells.values
        start = self.cells.start_of(Key(self.kind.family, WIDTH, (str(turn % SLOTS),)))
        head = (float(turn), _tag(self._version))
        if (values[start], values[start + 1]) != head:
            for place, value in enumerate((*head, *[0.0] * (WIDTH - HEAD))):
                values[start + place] = value
        return start

    def _turn(self) -> int:
        """The number of this part of time; 0 is no part's, as the cells of a new slot are 0."""
        return 1 + int(self.clock() * SLOTS / self.seconds)

    def report(self, snapshots: Iterable[Snapshot]) -> Report:
        """Compare what all workers counted within the window with the reference."""
        counts = self._total(snapshots)
        images = int(counts["rejection"].sum())
        reference = self._reference
        if reference is None:
            unknown = dict.fromkeys(ANSWERS, nan)
            return Report(images, dict.fromkeys(FEATURES, nan), unknown, unknown)
        enough = images >= MIN_IMAGES
        by_answers = zip(ANSWERS, ("confidence", "confidence_accepted"), strict=True)
        return Report(
            images,
            {
                name: distance(counts[name], reference.shares[name]) if enough else nan
                for name in FEATURES
            },
            {
                answers: mean(reference.accuracy, counts[name]) if enough else nan
                for answers, name in by_answers
            },
            reference.accuracy_of,
        )

    def _total(self, snapshots: Iterable[Snapshot]) -> dict[str, Floats]:
        turn, tag = self._turn(), _tag(self._version)
        total = np.zeros(WIDTH)
        for snapshot in snapshots:
            for _, numbers in snapshot.series.get((self.kind.family, WIDTH), ()):
                if turn - SLOTS < numbers[0] <= turn and numbers[1] == tag:
                    total += numbers
        bins = total[HEAD:].reshape(len(HISTOGRAMS), MAX_BINS)
        return dict(zip(HISTOGRAMS, bins, strict=True))


def _tag(version: str) -> float:
    """A version as a cell holds it: versions are numbered."""
    return float(version) if version.isdecimal() else -1.0


def counted(
    sample: Sequence[Answer], reference: Reference, reasons: Sequence[str], measure: Measure
) -> dict[str, Floats]:
    """Count answers, by `HISTOGRAMS`, in the bins of a reference."""
    names = (None, *reasons)
    shown = [each for each in sample if each.labels]
    confidence = np.array([each.confidence for each in shown])
    bins = np.searchsorted(reference.bounds["confidence"], confidence)
    accepted = np.array([each.rejected is None for each in shown], bool)
    counts = {
        "label": _count([label for each in shown for label in each.labels]),
        "rejection": _count([names.index(each.rejected) for each in sample]),
        "confidence": _count(bins),
        "confidence_accepted": _count(bins[accepted]),
        "ink": np.zeros(MAX_BINS),
        "stroke": np.zeros(MAX_BINS),
    }
    if shown:
        writing = measure(np.array([digit for each in shown for digit in each.digits]))
        counts["ink"] = _count(np.searchsorted(reference.bounds["ink"], writing.ink))
        counts["stroke"] = _count(np.searchsorted(reference.bounds["stroke"], writing.stroke))
    return counts


def _count(bins: Any) -> Floats:
    return np.bincount(np.asarray(bins, int), minlength=MAX_BINS).astype(float)


def distance(counts: Floats, shares: Floats) -> float:
    """Jensen–Shannon's distance between counts in bins and a reference's shares, in 0–1."""
    if not counts.any():
        return nan
    found = counts[: len(shares)] / counts.sum()
    wanted = shares / shares.sum()
    middle = (found + wanted) / 2
    divergence = (_divergence(found, middle) + _divergence(wanted, middle)) / 2
    return float(np.sqrt(max(divergence, 0.0)))


def _divergence(p: Floats, q: Floats) -> float:
    some = p > 0
    return float((p[some] * np.log2(p[some] / q[some])).sum())


def mean(values: Floats, counts: Floats) -> float:
    """The mean of the bins' values, weighted by what is in them; NaN where nothing is."""
    some = counts[: len(values)]
    return float(some @ values / some.sum()) if some.any() else nan

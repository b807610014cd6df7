"""Numbers: fit the weights of `app.inference.lattice` on rows made by code, and measure reading.

    python -m training.numbers fit --data mnist.npz --usps usps.npz --model models/digits/7
    python -m training.numbers judge --data mnist.npz --usps usps.npz --model models/digits/7
    python -m training.numbers report --data mnist.npz --usps usps.npz --model models/digits/7

`judge` fits anew what calibrates and rejects readings, and leaves the weights of readings as they
are. Rows are made of digits that the networks have not learned from: the first half of MNIST's
held-back 5,000 to fit on, and of USPS too where readings are judged; the second halves to report
on. What is no number is made of the outliers that the networks have learned from to fit on, and of
those held back to report on. Whole numbers are counted; intervals are Wilson's, 95%.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from app.inference import loading, rowreader
from app.inference.candidatenet import CandidateNet, Evidence, shipped_net
from app.inference.card import wilson
from app.inference.classifier import Classifier, Scores
from app.inference.combination import Rivals, combined
from app.inference.figures import LEAST, figures, may_be_noise, noise_figures, one_figures
from app.inference.grammar import Grammar
from app.inference.judge import number_figures, rival_figures
from app.inference.lattice import Lattice, lattice_of
from app.inference.rownet import NET_FILE, RowNet
from app.inference.rowreader import RowReader
from app.inference.search import Readings, search
from app.inference.weights import WEIGHTS_FILE, shipped_weights, weights_of
from app.serving.reader import Number, read_row, shipped_reader
from app.vision.grayscale import GrayImage
from app.vision.normalize import normalize
from app.vision.segment import SegmentedRow, segment
from training import candidatenet
from training.corpora import rows
from training.corpora.data import Digits, load, load_other

FREE = Grammar()
LENGTHS = range(1, 11)
BINS = (0.0, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1.01)
"""Edges of the confidences that are told apart in the report."""
FITTED_KINDS = (*rows.PLAIN, *rows.SCENES)
TOUCHING = ("touching", "overlapping", "all touching")
"""Kinds of which the candidate net sees twice as many."""
STEPS, RATE = 120, 0.06
PENALTY = 1e-3
"""Weight of the squared weights in the loss of a row."""
MAX_FITTED_CUTS = 48
READING_WEIGHTS = ("probability", "net", "digit", "one", "noise")
ACCEPTED_RIGHT = 0.99
"""Share of right readings among the accepted that the confidence threshold is chosen for, on the
rows that are fitted on."""
SURE_RIGHT = 0.993
"""The same share for rows of which the row net is not asked."""
NUMBERS_LOST = 0.01
"""Share of numbers, at most, that the threshold of the number score rejects."""


class Row(NamedTuple):
    """A picture of a row, segmented and classified."""

    text: str
    found: SegmentedRow
    scores: Scores

    @property
    def evidence(self) -> Evidence:
        """What is known of its candidates."""
        found = self.found.candidates
        return Evidence(found.spans, found.digits, found.shapes, self.scores)

    @property
    def known(self) -> rowreader.Row:
        """What the service reads it by."""
        return rowreader.Row(self.found.cuts, self.evidence, self.found.strip)


@dataclass(frozen=True, slots=True)
class Sets:
    """The digits that rows are made of: MNIST's that networks learn from; pairs of MNIST and USPS.

    Attributes:
        learned: What the candidate net learns from, beside MNIST's first half.
        calibrated: First halves of what was held back. Net and weights see MNIST's alone, what
            calibrates and rejects both: USPS is for validation.
        reported: Second halves.
    """

    learned: Digits
    calibrated: tuple[Digits, Digits]
    reported: tuple[Digits, Digits]


def sets(data: Path, usps: Path) -> Sets:
    """Halve the digits that the networks have not learned from."""
    mnist = load(data)
    both = mnist.validation, load_other(usps)
    halves = [
        (
            Digits(d.images[: len(d) // 2], d.labels[: len(d) // 2]),
            Digits(d.images[len(d) // 2 :], d.labels[len(d) // 2 :]),
        )
        for d in both
    ]
    return Sets(mnist.train, (halves[0][0], halves[1][0]), (halves[0][1], halves[1][1]))


def made(
    digits: Digits, kind: str, lengths: Sequence[int], count: int, seed: int
) -> Iterable[tuple[str, GrayImage]]:
    """Yield `count` rows of a kind with their texts; each has a seed of its own."""
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        places = rng.integers(len(digits), size=int(rng.choice(lengths)))
        text = "".join(str(digits.labels[place]) for place in places)
        yield text, rows.render([digits.images[place] for place in places], kind, rng)


def read_rows(pictures: Iterable[tuple[str, GrayImage]], classifier: Classifier) -> list[Row]:
    """Segment and classify pictures."""
    segmented = [(text, segment(picture)) for text, picture in pictures]
    crops = [found.candidates.digits for _, found in segmented]
    if not sum(map(len, crops)):
        scores: Scores = np.empty((0, 11), np.float32)
    else:
        scores = classifier(np.concatenate(crops))
    ends = np.cumsum([len(some) for some in crops])[:-1]
    return [
        Row(text, found, some)
        for (text, found), some in zip(segmented, np.split(scores, ends), strict=True)
    ]


def read_numbers(
    pictures: Iterable[tuple[str, GrayImage]], classifier: Classifier, grammar: Grammar = FREE
) -> Iterator[tuple[str, Number]]:
    """Yield the service's answers to pictures, with their texts."""
    reader = shipped_reader()
    for text, found, scores in read_rows(pictures, classifier):
        yield text, read_row(found, scores, grammar, reader)


class Answer(NamedTuple):
    """What is read in a row without any constraint; no text where it is blank."""

    text: str = ""
    confidence: float = 0.0
    number_score: float = 0.0
    accepted: bool = False


def answer(row: Row, reader: RowReader) -> Answer:
    """Read a row as the service does."""
    judged = reader.read(row.known, Grammar()) if row.found.cuts else None
    if judged is None:
        return Answer()
    best = judged.readings.best[0]
    rejected = judged.rejection(several_lines=row.found.several_lines)
    return Answer(best.text, best.probability, judged.number_score, rejected is None)


# --------------------------------------------------------------------------------- fitting


def padded(some: Sequence[Row]) -> dict[str, NDArray[Any]]:
    """Rows as arrays [r, cuts, span, …] for a graph that takes them all at once."""
    cuts = max(row.found.cuts for row in some)
    longest = max(int(np.diff(row.found.candidates.spans, axis=1).max()) for row in some)
    length = max(len(row.text) for row in some)
    shape = len(some), cuts, longest
    found, scores = some[0].found.candidates, some[0].scores
    facts = figures(found.spans, found.shapes, scores).shape[1]
    noises = noise_figures(found.shapes, scores).shape[1]
    arrays: dict[str, NDArray[Any]] = {
        "exists": np.zeros(shape, bool),
        "logs": np.zeros((*shape, 10), np.float32),
        "net": np.zeros((*shape, 10), np.float32),
        "figures": np.zeros((*shape, facts), np.float32),
        "one": np.zeros((*shape, 3), np.float32),
        "noisy": np.zeros(shape, bool),
        "noise": np.zeros((*shape, noises), np.float32),
        "text": np.zeros((len(some), length), np.int32),
        "length": np.array([len(row.text) for row in some], np.int32),
        "end": np.array([row.found.cuts - 1 for row in some], np.int32),
    }
    for index, row in enumerate(some):
        found = row.found.candidates
        at = index, found.spans[:, 0], found.spans[:, 1] - found.spans[:, 0] - 1
        arrays["exists"][at] = True
        arrays["logs"][at] = np.log(np.maximum(row.scores[:, :10], LEAST))
        arrays["net"][at] = shipped_net().log_odds(row.evidence.inputs())
        arrays["figures"][at] = figures(found.spans, found.shapes, row.scores)
        arrays["one"][at] = one_figures(found.shapes)
        arrays["noisy"][at] = may_be_noise(found.spans, found.shapes)
        arrays["noise"][at] = noise_figures(found.shapes, row.scores)
        arrays["text"][index, : len(row.text)] = [int(digit) for digit in row.text]
    return arrays


def fit(some: Sequence[Row]) -> dict[str, Any]:
    """The weights that make the rows' texts likeliest, by maximum likelihood (Adam)."""
    import tensorflow as tf  # noqa: PLC0415  takes seconds

    data = {name: tf.constant(array) for name, array in padded(some).items()}
    count, cuts, longest = data["exists"].shape
    positions = data["text"].shape[1]
    low = tf.constant(-1e4, tf.float32)
    start = {
        "probability": np.array(0.0),
        "net": np.array(1.0),
        "digit": np.zeros(data["figures"].shape[-1]),
        "one": np.zeros(3),
        "noise": np.zeros(data["noise"].shape[-1]),
    }
    variables = {name: tf.Variable(value, dtype=tf.float32) for name, value in start.items()}
    numbers = tf.range(count)
    wanted = tf.one_hot(data["text"], 10)  # [r,t,10]

    def loss() -> Any:
        logs = variables["probability"] * data["logs"] + variables["net"] * data["net"]
        logs += tf.linalg.matvec(data["figures"], variables["digit"])[..., None]
        one = tf.linalg.matvec(data["one"], variables["one"])
        logs += one[..., None] * tf.one_hot(1, 10)
        logs = tf.where(data["exists"][..., None], logs, low)
        noise = tf.linalg.matvec(data["noise"], variables["noise"])
        noise = tf.where(data["noisy"], noise, low)
        edges = tf.reduce_logsumexp(tf.concat([logs, noise[..., None]], axis=-1), axis=-1)
        texts = tf.einsum("rcsd,rtd->rcst", logs, wanted)
        everything = [tf.zeros(count)]
        right = [tf.concat([tf.zeros((count, 1)), tf.fill((count, positions), low)], axis=1)]
        for stop in range(1, cuts):
            ways, likely = [], []
            for span in range(1, min(longest, stop) + 1):
                before = stop - span
                ways.append(everything[before] + edges[:, before, span - 1])
                moved = right[before][:, :-1] + texts[:, before, span - 1]
                stayed = right[before] + noise[:, before, span - 1, None]
                moved = tf.concat([tf.fill((count, 1), low), moved], axis=1)
                likely.append(tf.reduce_logsumexp(tf.stack([moved, stayed]), axis=0))
            everything.append(tf.reduce_logsumexp(tf.stack(ways), axis=0))
            right.append(tf.reduce_logsumexp(tf.stack(likely), axis=0))
        every = tf.gather_nd(tf.stack(everything, axis=1), tf.stack([numbers, data["end"]], 1))
        place = tf.stack([numbers, data["end"], data["length"]], 1)
        share = tf.gather_nd(tf.stack(right, axis=1), place) - every
        # A row whose number is no way through its lattice would drown the others.
        penalty = sum(tf.reduce_sum(variable**2) for variable in variables.values())
        return -tf.reduce_mean(tf.maximum(share, -12.0)) + PENALTY * penalty

    optimizer = tf.keras.optimizers.Adam(RATE)
    trained = list(variables.values())

    @tf.function  # type: ignore[untyped-decorator]
    def step() -> Any:
        with tf.GradientTape() as tape:
            value = loss()
        optimizer.apply_gradients(zip(tape.gradient(value, trained), trained, strict=True))
        return value

    for number in range(STEPS):
        value = float(step())
        if number % 50 == 0 or number == STEPS - 1:
            print(f"step {number}: {value:.4f} nats a row", flush=True)
    return {name: variable.numpy().astype(float).tolist() for name, variable in variables.items()}


def logistic(x: NDArray[np.float64], y: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The weights of a logistic regression, by Newton's method."""
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (p - y) / len(x) + PENALTY * weights
        curve = (x.T * (p * (1 - p))) @ x / len(x) + PENALTY * np.eye(len(weights))
        weights -= np.linalg.solve(curve, slope)
    return weights


def mixed_rows(
    several: Sequence[Digits], classifier: Classifier, count: int, seed: int
) -> list[Row]:
    """Rows of every kind and length; of two sets of digits the first has two rows in three."""
    shares = {1: (count,), 2: (count * 2 // 3, count // 3)}[len(several)]
    pictures: list[tuple[str, GrayImage]] = []
    for number, kind in enumerate(FITTED_KINDS):
        for place, (digits, share) in enumerate(zip(several, shares, strict=True)):
            rng_seed = seed * 1000 + number * 10 + place
            pictures += made(digits, kind, LENGTHS, share, rng_seed)
    return read_rows(pictures, classifier)


def fitted_net(classifier: Classifier, digits: Sets, *, count: int, seed: int) -> CandidateNet:
    """The candidate net; three in four of its rows are of digits that all networks learn from."""
    some = mixed_rows(digits.calibrated[:1], classifier, count, seed)
    for number, kind in enumerate((*FITTED_KINDS, *TOUCHING)):
        pictures = made(digits.learned, kind, LENGTHS, 3 * count, seed * 1000 + 900 + number)
        some += read_rows(pictures, classifier)
    weights = shipped_weights()
    inputs, labels = [], []
    for row in some:
        if row.found.cuts:
            found = candidatenet.align(row.text, lattice_of(row.found.cuts, row.evidence, weights))
            if found is not None:
                inputs.append(row.evidence.inputs())
                labels.append(found)
    print(f"{len(labels)} rows with {sum(map(len, labels))} candidates")
    return candidatenet.teach(np.concatenate(inputs), np.concatenate(labels), seed=seed)


def no_numbers(classifier: Classifier, count: int, seed: int, *, held_back: bool) -> list[Row]:
    """What is no number."""
    pictures = (
        ("", rows.no_number(np.random.default_rng((seed, index)), held_back=held_back))
        for index in range(count)
    )
    return read_rows(pictures, classifier)


def fit_all(classifier: Classifier, digits: Sets, *, count: int, seed: int) -> dict[str, Any]:
    """Fit everything that `lattice.json` holds."""
    candidatenet.write(fitted_net(classifier, digits, count=count, seed=seed + 500))
    shipped_net.cache_clear()
    some = mixed_rows(digits.calibrated[:1], classifier, count, seed)
    usable = [row for row in some if len(row.text) < row.found.cuts <= MAX_FITTED_CUTS]
    print(f"{len(some)} rows, {len(usable)} to fit on")
    return _judging(fit(usable), classifier, digits, count=count, seed=seed)


def refit_judging(classifier: Classifier, digits: Sets, *, count: int, seed: int) -> dict[str, Any]:
    """Fit what judges readings, to the weights of readings as they are."""
    content = json.loads(WEIGHTS_FILE.read_text("utf-8"))
    return _judging(content, classifier, digits, count=count, seed=seed)


def _judging(
    content: dict[str, Any], classifier: Classifier, digits: Sets, *, count: int, seed: int
) -> dict[str, Any]:
    some = mixed_rows(digits.calibrated, classifier, count, seed + 1)
    outside = no_numbers(classifier, len(some) // 2, seed + 1, held_back=False)
    return fit_judging(content, some, outside, taught_row_net())


def taught_row_net() -> RowNet:
    """The row net as it was taught last, whatever net `lattice.json` was fitted for."""
    import tensorflow as tf  # noqa: PLC0415  takes seconds

    return RowNet(tf.lite, NET_FILE.read_bytes())


class Examined(NamedTuple):
    """A row as it is read up to where it is judged."""

    text: str
    row: rowreader.Row
    lattice: Lattice
    readings: Readings
    rivals: Rivals

    @property
    def alone(self) -> NDArray[np.float64]:
        """What the lattice's likeliest reading is judged by."""
        return number_figures(self.readings, self.lattice, self.row.evidence.scores)

    def both(self, weights: NDArray[np.float64]) -> tuple[str, NDArray[np.float64]]:
        """The likeliest of the rivals, and what it is judged by."""
        readings, first = combined(self.rivals, weights)
        facts = number_figures(readings, self.lattice, self.row.evidence.scores)
        return readings.best[0].text, rival_figures(facts, self.rivals, first)


def examined(some: Sequence[Row], reader: RowReader) -> list[Examined]:
    """Rows that are read as anything, up to where they are judged."""
    found = []
    for row in some:
        if row.found.cuts:
            known = row.known
            lattice = lattice_of(known.cuts, known.evidence, reader.weights)
            readings = search(lattice, Grammar())
            rivals = reader.rivals(known, lattice, readings, Grammar()) if readings.best else None
            if rivals is not None:
                found.append(Examined(row.text, known, lattice, readings, rivals))
    return found


def fit_judging(
    content: dict[str, Any], some: Sequence[Row], outside: Sequence[Row], row_net: RowNet
) -> dict[str, Any]:
    """Fit how rivals are weighed, when a reading is right, when a row is a number, and thresholds.

    Args:
        content: The weights of readings, as `fit` gives them.
        some: Rows of digits.
        outside: What is no number.
        row_net: Which is asked where the lattice alone is not sure.
    """
    nothing = {"number": [], "right": [], "number_score": 0.0, "confidence": 0.0}
    content = {name: content[name] for name in READING_WEIGHTS} | {
        "alone": nothing, "sure": 1.0, "rivals": [], "both": nothing, "row_net": row_net.sha256,
    }  # fmt: skip
    reader = RowReader(weights_of(content), row_net)
    digits, strange = examined(some, reader), examined(outside, reader)
    alone = np.stack([one.alone for one in digits])
    right = np.array([one.readings.best[0].text == one.text for one in digits])
    content["alone"], score, confidence = fitted_judging(
        alone, right, np.stack([one.alone for one in strange])
    )
    numbers = score >= content["alone"]["number_score"]
    content["sure"] = least_confidence(confidence[numbers], right[numbers], SURE_RIGHT)
    unsure = ~(numbers & (confidence >= content["sure"]))
    asked = [one for one, is_asked in zip(digits, unsure, strict=True) if is_asked]
    weights = fit_rivals(asked)
    content["rivals"] = weights.tolist()
    answers = [one.both(weights) for one in asked]
    right_both = np.array([text == one.text for (text, _), one in zip(answers, asked, strict=True)])
    content["both"], _, _ = fitted_judging(
        np.stack([facts for _, facts in answers]),
        right_both,
        np.stack([one.both(weights)[1] for one in strange]),
    )
    print(f"right by the lattice {right.mean():.4f}, with the row net ", end="")
    print(f"{(right[~unsure].sum() + right_both.sum()) / len(right):.4f} of {len(right)}")
    print(f"the row net is asked for {unsure.mean():.3f}")
    return content


def fitted_judging(
    facts: NDArray[np.float64], right: NDArray[np.bool_], strange: NDArray[np.float64]
) -> tuple[dict[str, Any], NDArray[np.float64], NDArray[np.float64]]:
    """Fit what judges readings by their figures, and its thresholds.

    Args:
        facts: Of rows of digits, [n,k].
        right: Which of them are read rightly.
        strange: Of what is no number, [m,k].

    Returns:
        What `Judging` holds, and the number score and confidence of each row of digits.
    """
    both = np.concatenate((facts, strange))
    number = logistic(both, np.arange(len(both)) < len(facts))
    weights = logistic(facts, right)
    score, confidence = (1 / (1 + np.exp(-facts @ one)) for one in (number, weights))
    level = float(np.quantile(score[right], NUMBERS_LOST))
    kept = score >= level
    content = {
        "number": number.tolist(),
        "right": weights.tolist(),
        "number_score": level,
        "confidence": least_confidence(confidence[kept], right[kept], ACCEPTED_RIGHT),
    }
    return content, score, confidence


def fit_rivals(some: Sequence[Examined]) -> NDArray[np.float64]:
    """The weights that make the rows' texts likeliest among their rivals, by Newton's method."""
    told = [
        (one.rivals.figures, texts.index(one.text))
        for one in some
        if one.text in (texts := [reading.text for reading in one.rivals.readings])
    ]
    weights = np.zeros(told[0][0].shape[1])
    for _ in range(30):
        slope, curve = PENALTY * weights, PENALTY * np.eye(len(weights))
        for figures_, place in told:
            scores = figures_ @ weights
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            mean = shares @ figures_
            slope = slope - (figures_[place] - mean) / len(told)
            curve = curve + ((figures_.T * shares) @ figures_ - np.outer(mean, mean)) / len(told)
        weights = weights - np.linalg.solve(curve, slope)
    return weights


def least_confidence(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], share_right: float
) -> float:
    """The least threshold from which on such a share of the accepted is right."""
    order = np.argsort(-confidence)
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(share >= share_right)
    return float(confidence[order[enough[-1]]]) if len(enough) else 1.0


# ------------------------------------------------------------------------------ the report


class Tally(NamedTuple):
    """How a set of rows was read."""

    rows: int
    right: int
    accepted: int
    right_accepted: int

    def line(self, name: str) -> str:
        """A row of the table."""
        low, high = wilson(self.right, self.rows)
        of_accepted = self.right_accepted / max(1, self.accepted)
        return (
            f"| {name} | {self.rows} | {self.right / self.rows:.4f} ({low:.4f}–{high:.4f}) "
            f"| {self.accepted / self.rows:.4f} | {of_accepted:.4f} |"
        )


def tally(some: Sequence[Row], reader: RowReader) -> Tally:
    """Read rows and count."""
    answers = [answer(row, reader) for row in some]
    right = np.array([one.text == row.text for one, row in zip(answers, some, strict=True)])
    accepted = np.array([one.accepted for one in answers])
    return Tally(len(some), int(right.sum()), int(accepted.sum()), int((right & accepted).sum()))


def report(
    classifier: Classifier, digits: Sets, people: Path | None, *, count: int, seed: int
) -> Iterable[str]:
    """Yield the lines of the table of accuracy."""
    reader = shipped_reader()
    mnist, usps = digits.reported
    yield "| rows | n | right (95%) | accepted | right of accepted |"
    yield "| --- | --- | --- | --- | --- |"
    plan: list[tuple[str, Digits, str, Sequence[int]]] = [
        ("four, side by side, MNIST", mnist, "side by side", [4]),
        ("four, spaced, MNIST", mnist, "spaced", [4]),
        ("four, side by side, USPS", usps, "side by side", [4]),
        ("four, spaced, USPS", usps, "spaced", [4]),
        ("touching, 2–6, MNIST", mnist, "touching", range(2, 7)),
        ("overlapping, 2–6, MNIST", mnist, "overlapping", range(2, 7)),
        ("all touching, 2–6, MNIST", mnist, "all touching", range(2, 7)),
        ("touching, 2–6, USPS", usps, "touching", range(2, 7)),
        *((f"{kind}, 3–6, MNIST", mnist, kind, range(3, 7)) for kind in rows.SCENES),
        *((f"{kind}, 3–6, USPS", usps, kind, range(3, 7)) for kind in ("photo", "boxed")),
        ("spaced, 7–10, MNIST", mnist, "spaced", range(7, 11)),
    ]
    told: list[tuple[float, bool]] = []
    for number, (name, source, kind, lengths) in enumerate(plan):
        pictures = made(source, kind, lengths, count, seed * 1000 + number)
        some = read_rows(pictures, classifier)
        yield tally(some, reader).line(name)
        answers = [(answer(row, reader), row.text) for row in some]
        told += [(one.confidence, one.text == text) for one, text in answers]
    yield from on_singles(classifier, reader, mnist, count)
    yield from reliability(told)
    strange = [answer(row, reader) for row in no_numbers(classifier, count, seed, held_back=True)]
    rejected = sum(not one.accepted for one in strange)
    low, high = wilson(rejected, count)
    yield f"\nNo numbers rejected: {rejected / count:.4f} ({low:.4f}–{high:.4f}) of {count}"
    if people is not None:
        yield from on_people(classifier, reader, people)


def reliability(told: Sequence[tuple[float, bool]]) -> Iterable[str]:
    """Yield how many numbers are right of those given with about the same confidence."""
    confidence, right = (np.array(column) for column in zip(*told, strict=True))
    yield "\n| confidence | n | mean confidence | right |"
    yield "| --- | --- | --- | --- |"
    for low, high in pairwise(BINS):
        some = (confidence >= low) & (confidence < high)
        if some.any():
            shares = f"{confidence[some].mean():.3f} | {right[some].mean():.3f}"
            yield f"| {low:g}–{min(high, 1):g} | {some.sum()} | {shares} |"


def on_singles(
    classifier: Classifier, reader: RowReader, digits: Digits, count: int
) -> Iterable[str]:
    """Yield how single digits fare, in frames of 28 and in scenes, read as rows and predicted."""
    for kind in ("side by side", "photo"):
        pictures = list(made(digits, kind, [1], count, 77))
        rows_read = tally(read_rows(pictures, classifier), reader)
        predicted = classifier(np.stack([normalize(picture).digit for _, picture in pictures]))
        labels = predicted[:, :10].argmax(axis=1)
        right = sum(str(label) == text for label, (text, _) in zip(labels, pictures, strict=True))
        yield rows_read.line(f"single, {kind}, MNIST")
        yield f"| … predicted | {count} | {right / count:.4f} | | |"


def on_people(classifier: Classifier, reader: RowReader, folder: Path) -> Iterable[str]:
    """Yield how the rows that people have made are read: those of 2 to 12 digits, as a whole."""
    import csv  # noqa: PLC0415

    with (folder / "labels.csv").open(encoding="utf-8") as file:
        labels = list(csv.DictReader(file))

    def picture(name: str) -> GrayImage:
        image = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
        return np.asarray(image, np.uint8)

    multi = [one for one in labels if one["kind"] == "multi"]
    plain = [one for one in multi if one["label"].isdigit() and 2 <= len(one["label"]) <= 12]
    read = read_rows([(one["label"], picture(one["file"])) for one in plain], classifier)
    yield tally(read, reader).line("people, 2–12")
    none = [("", picture(one["file"])) for one in labels if one["kind"] == "nondigit"]
    kept = sum(answer(row, reader).accepted for row in read_rows(none, classifier))
    yield f"\nPeople's pictures without a digit rejected: {len(none) - kept} of {len(none)}"


FITS = {"fit": fit_all, "judge": refit_judging}


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.numbers", description=__doc__)
    parser.add_argument("command", choices=(*FITS, "report"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--usps", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--people", type=Path, help="a folder with labels.csv: file, kind, label")
    parser.add_argument("--count", type=int, default=300, help="rows of a kind")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    classifier = loading.load(args.model)
    digits = sets(args.data, args.usps)
    if args.command in FITS:
        content = FITS[args.command](classifier, digits, count=args.count, seed=args.seed)
        WEIGHTS_FILE.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        return
    for line in report(classifier, digits, args.people, count=args.count, seed=args.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()

"""`python -m benchmarks.drift`: does drift move when writers change, and is expected accuracy true?

A day of traffic is simulated through the service's own code: scenes are normalized, classified and
counted, with a clock that is moved by hand. Phases differ in one thing each: who writes, with what,
which digits, or whether they are digits. First, for a service that gets pictures of every kind, by
the card's reference; then for one that gets scans, by a reference of its own; then for one that
reads numbers. Then the accuracy that is expected without labels is set beside the true one, on
collections not learned from: of MNIST's test set, USPS, and people.

    python -m benchmarks.drift --usps usps.npz --people FOLDER --plot docs/drift.png
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from matplotlib.figure import Figure

from app.inference.classifier import Classifier, Images, Rejection
from app.inference.grammar import Grammar
from app.inference.judge import RowRejection
from app.inference.registry import version_to_serve
from app.observe.drift import FEATURES, MIN_IMAGES, Report
from app.observe.metrics import Metrics
from app.serving.reader import NumberDigit
from app.vision.decode import decode
from app.vision.grayscale import GrayImage
from app.vision.normalize import Normalized, normalize
from app.vision.stroke import measure
from benchmarks.columns import Columns
from training import numbers
from training.corpora import data, folder, outliers, rows, scenes
from training.evaluate import Folder, scan
from training.reference import reference

Some = TypeVar("Some")

WINDOW_SECONDS = 3600.0
PHASE_SECONDS = 2.5 * WINDOW_SECONDS
PER_PHASE = 5_000
STEP = 50
"""Images that come at once."""
SEED = 2029
NUMBERS_PER_PHASE = 400
SHOWN_NUMBERS = 1_600
"""Numbers that come in a phase, each row several times: to read one takes 30 to 100 ms."""
NUMBER_STEP = 5
"""Rows that come at once: what a worker looks at between two flushes holds them."""
SCANS = ("scan",)
TOUCHING = ("touching", "overlapping", "all touching")
ALARM = 0.2
"""Distance at which `DigitsDrifts` fires."""


class Seen(NamedTuple):
    """A prediction and, for the simulation alone, whether it is right."""

    label: int | None
    confidence: float
    rejected: Rejection | None
    normalized: Normalized
    right: bool


class SeenNumber(NamedTuple):
    """A number and, for the simulation alone, whether all of it is right."""

    digits: list[NumberDigit]
    confidence: float
    rejected: RowRejection | None
    right: bool


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """The seconds now."""
        return self.seconds


@dataclass(frozen=True, slots=True)
class Traffic:
    """Images that come, by what they have in common."""

    name: str
    normalized: Sequence[Normalized]
    labels: Sequence[int]


def traffic(name: str, digits: data.Digits, kinds: Sequence[str], *, count: int) -> Traffic:
    """Scenes of `digits`, of the kinds in turn."""
    seen, labels = [], []
    for place in range(count):
        rng = np.random.default_rng((SEED, place))
        source = int(rng.integers(len(digits)))
        file = scenes.render(digits.images[source], kinds[place % len(kinds)], rng)
        seen.append(normalize(decode(file).gray))
        labels.append(int(digits.labels[source]))
    return Traffic(name, seen, labels)


def as_digits(name: str, images: Images, labels: Sequence[int]) -> Traffic:
    """Images [n,28,28] that are normalized already."""
    blank = [not image.any() for image in images]
    seen = [
        Normalized(image, False, None if empty else (0, 0, 28, 28), ())
        for image, empty in zip(images, blank, strict=True)
    ]
    return Traffic(name, seen, labels)


def predictions(classifier: Classifier, some: Traffic) -> list[Seen]:
    """What the service answers for `some`."""
    scores = classifier(np.array([each.digit for each in some.normalized]))
    answers = []
    for normalized, row, truth in zip(some.normalized, scores, some.labels, strict=True):
        if normalized.box is None:
            answers.append(Seen(None, 0.1, Rejection.BLANK, normalized, False))
            continue
        label, confidence = int(row[:10].argmax()), float(row[:10].max())
        rejected = classifier.thresholds.rejection(confidence, float(row[10]))
        answers.append(Seen(label, confidence, rejected, normalized, label == truth))
    return answers


def metrics_of(classifier: Classifier, clock: Clock) -> Metrics:
    """Metrics as a service has them, by this clock."""
    metrics = Metrics(
        reasons=Rejection,
        number_reasons=RowRejection,
        measure=measure,
        drift_seconds=WINDOW_SECONDS,
        clock=clock,
    )
    metrics.set_model(classifier.name, classifier.version, classifier.card)
    return metrics


def parts_of(answers: Sequence[Some], step: int) -> Iterator[Sequence[Some]]:
    """Yield the answers as they come together."""
    for start in range(0, len(answers), step):
        yield answers[start : start + step]


def reports(
    classifier: Classifier, phases: Sequence[Traffic]
) -> Iterator[tuple[float, str, Report]]:
    """Yield time, phase and report, as the phases follow each other."""
    clock = Clock()
    metrics = metrics_of(classifier, clock)
    for phase in phases:
        answers = predictions(classifier, phase)
        step_seconds = PHASE_SECONDS * STEP / len(answers)
        for part in parts_of(answers, STEP):
            clock.seconds += step_seconds
            metrics.observe_predictions(classifier.version, Columns(part))
            metrics.flush()
            yield clock.seconds, phase.name, metrics.drift()


def expectation(classifier: Classifier, some: Traffic) -> tuple[Report, float, float]:
    """The report on `some` alone, and its true accuracy: of all, and of accepted answers."""
    metrics = metrics_of(classifier, Clock())
    answers = predictions(classifier, some)
    # A collection of fewer images than a report wants is shown as often as it takes.
    for part in parts_of(answers * -(-MIN_IMAGES // len(answers)), STEP):
        metrics.observe_predictions(classifier.version, Columns(part))
        metrics.flush()
    shown = [each for each in answers if each.label is not None]
    accepted = [each.right for each in shown if each.rejected is None]
    return metrics.drift(), float(np.mean([each.right for each in shown])), float(np.mean(accepted))


def number_reports(
    classifier: Classifier, phases: Mapping[str, Sequence[SeenNumber]]
) -> Iterator[tuple[float, str, Report]]:
    """Yield time, phase and report on numbers, as the phases follow each other."""
    clock = Clock()
    metrics = metrics_of(classifier, clock)
    for name, answers in phases.items():
        shown = [*answers] * -(-SHOWN_NUMBERS // len(answers))
        step_seconds = PHASE_SECONDS * NUMBER_STEP / len(shown)
        for part in parts_of(shown, NUMBER_STEP):
            clock.seconds += step_seconds
            metrics.observe_numbers(classifier.version, part)
            metrics.flush()
            yield clock.seconds, name, metrics.number_drift()


def number_expectation(
    classifier: Classifier, answers: Sequence[SeenNumber]
) -> tuple[Report, float, float]:
    """The report on some numbers alone, and how many are right: of all, and of accepted ones."""
    metrics = metrics_of(classifier, Clock())
    for part in parts_of([*answers] * -(-MIN_IMAGES // len(answers)), NUMBER_STEP):
        metrics.observe_numbers(classifier.version, part)
        metrics.flush()
    shown = [each for each in answers if each.digits]
    accepted = [each.right for each in shown if each.rejected is None]
    report = metrics.number_drift()
    return report, float(np.mean([each.right for each in shown])), float(np.mean(accepted))


def read_rows(
    classifier: Classifier,
    digits: data.Digits,
    kinds: Sequence[str],
    *,
    count: int,
    grammars: bool = False,
) -> list[SeenNumber]:
    """Numbers read in rows of `digits`, of the kinds in turn, in any order.

    Args:
        classifier: Of the version.
        digits: Of which rows are made.
        kinds: Of `rows.KINDS`.
        count: Rows.
        grammars: Whether the number of digits is told with each request.
    """
    share = -(-count // len(kinds))
    pictures = [
        picture
        for number, kind in enumerate(kinds)
        for picture in numbers.made(digits, kind, numbers.LENGTHS, share, SEED + number)
    ]
    order = np.random.default_rng(SEED).permutation(len(pictures))[:count]
    return seen_numbers(classifier, [pictures[i] for i in order], grammars=grammars)


def seen_numbers(
    classifier: Classifier, pictures: Sequence[tuple[str, GrayImage]], *, grammars: bool = False
) -> list[SeenNumber]:
    """What the service reads in pictures of rows with their texts."""
    found = []
    for text, picture in pictures:
        grammar = Grammar(len(text), len(text)) if grammars else Grammar()
        for _, one in numbers.read_numbers([(text, picture)], classifier, grammar):
            right = one.text == text
            found.append(SeenNumber(one.digits, one.confidence, one.rejected, right))
    return found


def number_phases(
    classifier: Classifier, test: data.Digits, usps: data.Digits | None, *, count: int
) -> dict[str, list[SeenNumber]]:
    """Who writes which rows how; and what is no number."""
    every = list(rows.KINDS)
    half = len(test) // 2
    first = data.Digits(test.images[:half], test.labels[:half])
    later = data.Digits(test.images[half:], test.labels[half:])
    phases = {
        "as ever": read_rows(classifier, first, every, count=count),
        "others like them": read_rows(classifier, later, every, count=count),
    }
    if usps is not None:
        phases["other writers (USPS)"] = read_rows(classifier, usps, every, count=count)
    mostly = np.flatnonzero((test.labels == 1) | (np.arange(len(test)) % 3 == 0))
    ones = data.Digits(test.images[mostly], test.labels[mostly])
    phases["more ones"] = read_rows(classifier, ones, every, count=count)
    phases["all touching"] = read_rows(classifier, first, TOUCHING, count=count)
    strange = [
        ("", rows.no_number(np.random.default_rng((SEED, place)), held_back=True))
        for place in range(count // 4)
    ]
    mixed = [*seen_numbers(classifier, strange), *phases["as ever"][len(strange) :]]
    order = np.random.default_rng(SEED).permutation(len(mixed))
    phases["a quarter no numbers"] = [mixed[i] for i in order]
    return phases


def people_rows(classifier: Classifier, place: Path) -> list[SeenNumber]:
    """Numbers read in people's rows of 2 to 12 digits."""
    pictures = [
        (entry.label, decode((place / entry.name).read_bytes()).gray)
        for entry in folder.listed(place)
        if entry.label.isdigit() and 2 <= len(entry.label) <= 12
    ]
    return seen_numbers(classifier, pictures)


def phases_of(
    digits: data.Digits, usps: data.Digits | None, kinds: Sequence[str], count: int
) -> list[Traffic]:
    """Who writes, with what, which digits; the same writers with the same pens between."""
    every = list(kinds)
    ones = digits.labels == 1
    mostly_ones = np.flatnonzero(ones | (np.arange(len(digits)) % 3 == 0))
    half = len(digits) // 2
    # MNIST's test digits come writer by writer.
    later = data.Digits(digits.images[half:], digits.labels[half:])
    phases = [traffic("as ever", digits, every, count=count)]
    phases.append(traffic("others like them", later, every, count=count))
    if usps is not None:
        phases.append(traffic("other writers (USPS)", usps, every, count=count))
        phases.append(phases[0])
    some = data.Digits(digits.images[mostly_ones], digits.labels[mostly_ones])
    phases.append(traffic("more ones", some, every, count=count))
    phases.append(traffic("thick pens", digits, ["thick", "marker"], count=count))
    rng = np.random.default_rng(SEED)
    unknown, _ = outliers.sample(count // 4, rng, digits.images, digits.labels, held_back=True)
    mixed = as_digits("", unknown, [-1] * len(unknown))
    usual = phases[0]
    order = rng.permutation(count)
    seen = [*mixed.normalized, *usual.normalized[len(unknown) :]]
    labels = [*mixed.labels, *usual.labels[len(unknown) :]]
    phases.append(
        Traffic("a quarter no digits", [seen[i] for i in order], [labels[i] for i in order])
    )
    return phases


def of_scans(version: Folder, held_back: data.Digits, count: int) -> Classifier:
    """The classifier with a reference for a service that gets scans."""
    scans = traffic("", held_back, SCANS, count=count)
    images = np.array([each.digit for each in scans.normalized])
    blank = np.zeros(count, bool)
    entry = reference(version, images, np.array(scans.labels, np.uint8), blank)
    card = {**version.classifier.card, "reference": entry}
    return replace(version.classifier, card=card)


Course = Sequence[tuple[float, str, Report]]


def draw(simulations: Mapping[str, Course], path: Path) -> None:
    """Plot the distances, and the expected accuracy, over the day of each simulation."""
    figure = Figure(figsize=(6.5 * len(simulations), 7), layout="constrained")
    # An accuracy of numbers is far below one of digits.
    columns = figure.subplots(2, len(simulations), sharex="col", height_ratios=(2, 1)).T
    for (title, course), (upper, lower) in zip(simulations.items(), columns, strict=True):
        hours = [seconds / 3600 for seconds, _, _ in course]
        for feature in FEATURES:
            upper.plot(hours, [report.distance[feature] for _, _, report in course], label=feature)
        upper.axhline(ALARM, color="black", linestyle=":", label="alert")
        upper.set(title=title, ylabel="digits_drift", ylim=(0, 0.8))
        upper.legend(ncols=3, loc="upper left", fontsize=8)
        for answers in ("all", "accepted"):
            expected = [100 * report.expected_accuracy[answers] for _, _, report in course]
            lower.plot(hours, expected, label=f"of {answers} answers")
        lower.set(xlabel="hours; the window is one", ylabel="expected accuracy, %")
        lower.legend(loc="lower left", fontsize=8)
        edges = [(0.0, course[0][1])]
        edges += [(a[0] / 3600, b[1]) for a, b in pairwise(course) if a[1] != b[1]]
        for edge, name in edges:
            for axes in (upper, lower):
                axes.axvline(edge, color="gray", linewidth=0.5)
            upper.text(edge + 0.1, 0.6, name, fontsize=8, rotation=90, va="center")
    figure.savefig(path, dpi=100, metadata={"Software": None})


def show(title: str, course: Course) -> None:
    """Print the distances at the end of each phase."""
    print(f"\n{title}:\n{'phase':22}" + "".join(f"{name:>12}" for name in FEATURES))
    for _, name, report in [a for a, b in pairwise(course) if a[1] != b[1]] + [course[-1]]:
        print(f"{name:22}" + "".join(f"{report.distance[each]:12.3f}" for each in FEATURES))


def show_expectation(name: str, figures: tuple[Report, float, float]) -> None:
    """Print expected beside true accuracy."""
    report, every, accepted = figures
    expected = report.expected_accuracy
    print(
        f"{name:24}{100 * expected['all']:10.2f}{100 * every:8.2f}"
        f"{100 * expected['accepted']:12.2f}{100 * accepted:8.2f}",
        flush=True,
    )


def main() -> None:
    """Print the distances at the end of each phase, and expected beside true accuracies."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=version_to_serve(Path("models/digits")))
    add("--data", type=Path, default=data.path_from_environment(), help="a local mnist.npz")
    add("--usps", type=Path, default=os.environ.get("DIGITS_USPS"), help="an .npz with x and y")
    add("--people", type=Path, help="a folder of labelled images")
    add("--count", type=int, default=PER_PHASE, help="images in a phase")
    add("--numbers", type=int, default=NUMBERS_PER_PHASE, help="rows in a phase")
    add("--plot", type=Path, help="write the plot to this PNG")
    options = parser.parse_args()
    version = Folder(options.model)
    classifier = version.classifier
    split = data.load(options.data)
    test = split.test
    usps = data.load_other(Path(options.usps)) if options.usps else None

    phases = phases_of(test, usps, list(scenes.KINDS), options.count)
    scans = phases_of(test, usps, SCANS, options.count)
    own = of_scans(version, split.validation, options.count)
    of_numbers = number_phases(classifier, test, usps, count=options.numbers)
    simulations = {
        "Pictures of every kind, the card's reference": list(reports(classifier, phases)),
        "Scans, a reference of their own": list(reports(own, scans)),
        "Numbers, the card's reference": list(number_reports(classifier, of_numbers)),
    }
    for title, course in simulations.items():
        show(title, course)
    if options.plot:
        draw(simulations, options.plot)

    collections = [as_digits("MNIST test", test.images, test.labels.tolist()), phases[0]]
    if usps is not None:
        normalized = [normalize(decode(scan(image)).gray) for image in usps.images]
        collections.append(Traffic("USPS, scanned", normalized, usps.labels.tolist()))
        collections.append(phases[2])
    if options.people:
        people = folder.read(options.people)
        collections.append(as_digits("people", people.images, people.labels.tolist()))
    print(f"\n{'accuracy, %':24}{'expected':>10}{'true':>8}{'expected':>12}{'true':>8} (accepted)")
    for some in collections:
        show_expectation(some.name, expectation(classifier, some))

    for title, digits in (("MNIST test", test), ("USPS", usps)):
        if digits is not None:
            count, kinds = options.numbers, list(rows.KINDS)
            known = read_rows(classifier, digits, kinds, count=count, grammars=True)
            of_numbers[f"{title}, length told"] = known
    if options.people:
        of_numbers["people"] = people_rows(classifier, options.people)
    print("\nnumbers")
    for name, read in of_numbers.items():
        show_expectation(name, number_expectation(classifier, read))


if __name__ == "__main__":
    main()

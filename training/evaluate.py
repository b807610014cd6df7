"""Evaluation: the same figures for a version on disk and for a server.

    python -m training.evaluate --model models/digits/1 --plots docs
    python -m training.evaluate --url http://127.0.0.1:8000
    python -m training.evaluate --model models/digits/1 --people FOLDER

A folder's images go through the service's own predictor; a server's through POST /predict, as
arrays with normalize=false and as uploaded files. `--card` writes the figures into the card of
`--model`, and its manifest anew. `--people` measures a folder of labelled images, as
`training.people` describes it, and nothing else: it needs no MNIST, and its table goes to stderr.
With `--card`, the figures go beside the others.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray

from app.inference import loading
from app.inference.card import wilson
from app.inference.classifier import Classifier, Images, Scores, Thresholds
from app.serving.limits import Admission
from app.serving.predictions import Predictions
from app.serving.predictor import Predictor
from app.settings import Settings
from training import calibrate, export, plots
from training.calibrate import Floats
from training.corpora import corruptions, data, outliers, scenes

Figures = dict[str, Any]
BATCH = 50
"""Images in a request."""
SEED = 2026
"""Seed of all images that are made for an evaluation."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The judged answers for n images.

    Attributes:
        probabilities: float32 [n,10].
        accepted: [n], False where the answer was rejected.
    """

    probabilities: Floats
    accepted: NDArray[np.bool_]

    @property
    def labels(self) -> NDArray[np.intp]:
        """The most probable digits [n]."""
        labels: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return labels


def judge(scores: Scores, thresholds: Thresholds) -> Answers:
    """Judge scores [n,11] by the service's rule, `Thresholds.rejection`."""
    pairs = zip(scores[:, :10].max(axis=1).tolist(), scores[:, 10].tolist(), strict=True)
    accepted = [thresholds.rejection(*pair) is None for pair in pairs]
    return Answers(scores[:, :10], np.array(accepted, bool))


class Subject(Protocol):
    """The classifier under evaluation."""

    def arrays(self, images: Images) -> Answers:
        """Classify images [n,28,28] as they are."""

    def files(self, images: Sequence[bytes]) -> Answers:
        """Classify encoded images of any size, normalized first."""


class Loaded(NamedTuple):
    """A registry of one version, which no other replaces."""

    live: Classifier


class Folder:
    """A version on disk, loaded in this process."""

    def __init__(self, folder: Path) -> None:
        self.classifier = loading.load(folder)
        max_pixels = Settings.model_fields["max_pixels"].default
        self._predictor = Predictor(Loaded(self.classifier), max_pixels=max_pixels)
        # Nothing waits in this process, so no budget is ever asked for.
        self._admission = Admission(max_waiting_images=1, body_bytes=0, working_bytes=0)

    def arrays(self, images: Images) -> Answers:
        """Classify images [n,28,28] as they are."""
        return judge(self.classifier(images), self.classifier.thresholds)

    def files(self, images: Sequence[bytes]) -> Answers:
        """Classify encoded images, `BATCH` at a time."""
        parts = [self._predict(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
        rejected = [reason for part in parts for reason in part.rejected]
        return Answers(
            np.concatenate([part.probabilities for part in parts]),
            np.array([reason is None for reason in rejected], bool),
        )

    def _predict(self, images: Sequence[bytes]) -> Predictions:
        lease = self._admission.open_lease(math.inf)
        (outcome,) = self._predictor.predict([self._predictor.prepare(images, lease)])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def normalized(self, images: Images, blank: NDArray[np.bool_]) -> Answers:
        """Classify images [n,28,28] that were normalized; `blank` [n] are those without ink."""
        answers = self.arrays(images)
        answers.probabilities[blank] = 0.1
        return Answers(answers.probabilities, answers.accepted & ~blank)


class Service:
    """A running server, asked over HTTP."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def arrays(self, images: Images) -> Answers:
        """Classify images [n,28,28] as they are, `BATCH` in a request."""
        return self._join(
            self._ask(
                params={"normalize": "false"}, json={"images": images[i : i + BATCH].tolist()}
            )
            for i in range(0, len(images), BATCH)
        )

    def files(self, images: Sequence[bytes]) -> Answers:
        """Classify encoded images, `BATCH` in a request."""
        return self._join(
            self._ask(
                files=[("file", (f"{k}", image)) for k, image in enumerate(images[i : i + BATCH])]
            )
            for i in range(0, len(images), BATCH)
        )

    def _ask(self, **request: Any) -> list[dict[str, Any]]:
        response = self.client.post("/predict", **request)
        response.raise_for_status()
        predictions: list[dict[str, Any]] = response.json()["predictions"]
        return predictions

    def _join(self, parts: Iterator[list[dict[str, Any]]]) -> Answers:
        predictions = [prediction for part in parts for prediction in part]
        return Answers(
            np.array([prediction["probabilities"] for prediction in predictions], np.float32),
            np.array([prediction["rejected"] is None for prediction in predictions]),
        )


def png(image: NDArray[np.uint8]) -> bytes:
    """Encode uint8 [h,w] as PNG."""
    return cv2.imencode(".png", image)[1].tobytes()


def scan(digit: NDArray[np.uint8]) -> bytes:
    """Enlarge a digit uint8 [h,w], white on black, and encode it as a scanner would send it."""
    large = cv2.resize(digit, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    return png(255 - np.pad(np.asarray(large, np.uint8), large.shape[0] // 4))


def on_test_digits(subject: Subject, test: data.Digits) -> tuple[Figures, Answers]:
    """Evaluate MNIST's test set as arrays and as uploads; return the arrays' answers, too."""
    arrays = subject.arrays(test.images)
    uploads = subject.files([png(image) for image in test.images])
    uploaded = {
        "test_accuracy_uploaded": share(uploads.labels == test.labels),
        "test_accepted_uploaded": share(uploads.accepted),
    }
    return of_answers(arrays, test) | uploaded, arrays


def of_answers(answers: Answers, digits: data.Digits) -> Figures:
    """Return the card's figures for the answers to a test set."""
    return {
        "test_accuracy": share(answers.labels == digits.labels),
        "test_accepted": share(answers.accepted),
        "ece": round(calibrate.reliability(answers.probabilities, digits.labels).ece, 6),
        "negative_log_likelihood": nll(answers.probabilities, digits.labels),
    }


def on_scans(subject: Subject, digits: data.Digits) -> tuple[Figures, Answers]:
    """Evaluate another data set's digits, enlarged, as dark ink on a white page."""
    answers = subject.files([scan(image) for image in digits.images])
    figures = {
        "accuracy": share(answers.labels == digits.labels),
        "accepted": share(answers.accepted),
        "ece": round(calibrate.reliability(answers.probabilities, digits.labels).ece, 6),
        "images": len(digits),
    }
    return figures, answers


def on_scenes(subject: Subject, digits: data.Digits, per_kind: int) -> Figures:
    """Evaluate `per_kind` scenes of each kind, of digits that were not trained on."""
    names = list(scenes.KINDS)
    kinds = np.tile(np.arange(len(names)), per_kind)
    sources = np.random.default_rng(SEED).integers(0, len(digits), len(kinds))
    files = [
        scenes.render(digits.images[source], names[kind], np.random.default_rng((SEED, place)))
        for place, (source, kind) in enumerate(zip(sources, kinds, strict=True))
    ]
    return by_kind(subject.files(files), digits.labels[sources], kinds, names)


def on_altered_arrays(subject: Subject, digits: data.Digits, per_kind: int) -> Figures:
    """Evaluate `per_kind` arrays of each kind of `training.corpora.corruptions`."""
    names = list(corruptions.KINDS)
    kinds = np.tile(np.arange(len(names)), per_kind)
    rng = np.random.default_rng(SEED)
    sources = rng.integers(0, len(digits), len(kinds))
    images = np.stack(
        [
            corruptions.corrupt(digits.images[source], names[kind], rng)
            for source, kind in zip(sources, kinds, strict=True)
        ]
    )
    return by_kind(subject.arrays(images), digits.labels[sources], kinds, names)


def by_kind(
    answers: Answers, labels: NDArray[np.uint8], kinds: NDArray[np.intp], names: list[str]
) -> Figures:
    """Return the accuracy of each kind, their mean and worst, and that of accepted answers."""
    right = answers.labels == labels
    each = {name: share(right[kinds == kind]) for kind, name in enumerate(names)}
    return {
        "mean": round(float(np.mean(list(each.values()))), 6),
        "worst": min(each, key=lambda name: each[name]),
        "worst_accuracy": min(each.values()),
        "accepted": share(answers.accepted),
        "accuracy_of_accepted": share(right[answers.accepted]),
        "images": len(labels),
        "kinds": each,
    }


def on_outliers(subject: Subject, digits: data.Digits, count: int) -> Figures:
    """Return the share of outliers that is rejected, of kinds that were not trained on."""
    rng = np.random.default_rng(SEED)
    images, kinds = outliers.sample(count, rng, digits.images, digits.labels, held_back=True)
    rejected = ~subject.arrays(images).accepted
    names = list(outliers.HELD_BACK)
    letters = np.isin(kinds, [place for place, name in enumerate(names) if "letters" in name])
    return {
        "rejected": share(rejected),
        "letters_rejected": share(rejected[letters]),
        "images": count,
        "kinds": {name: share(rejected[kinds == kind]) for kind, name in enumerate(names)},
    }


def share(flags: NDArray[np.bool_]) -> float:
    """Return the share of True, in 0–1; 0 if there are no flags."""
    return round(float(np.mean(flags)), 6) if len(flags) else 0.0


def nll(probabilities: Floats, labels: NDArray[np.integer]) -> float:
    """Return the mean negative log-likelihood of labels [n] under probabilities [n,10]."""
    likelihoods = probabilities[np.arange(len(labels)), labels]
    return round(float(-np.log(np.maximum(likelihoods, 1e-7)).mean()), 6)


def pictures(test: data.Digits, answers: Answers, folder: Path, prefix: str = "") -> None:
    """Draw confusion, predictions, mistakes and reliability of a test set as PNGs in `folder`."""
    curve = calibrate.reliability(answers.probabilities, test.labels)
    plots.confusion(test.labels, answers.labels, folder / f"{prefix}confusion.png")
    plots.predictions(test.images, test.labels, answers.labels, folder / f"{prefix}predictions.png")
    plots.mistakes(
        test.images, test.labels, answers.probabilities, folder / f"{prefix}mistakes.png"
    )
    plots.reliability({"MNIST test": curve}, folder / f"{prefix}reliability.png")


@dataclass(frozen=True, slots=True)
class Report:
    """A version's figures, and the curves and answers that its plots are drawn from."""

    figures: Figures
    curves: dict[str, calibrate.Reliability]
    test: Answers


def report(subject: Subject, split: data.Split, usps: data.Digits | None, per_kind: int) -> Report:
    """Evaluate clean digits, scenes, altered arrays, outliers, and another data set if given.

    Each collection has a line on stderr when it is done.
    """
    figures, test = on_test_digits(subject, split.test)
    tell("MNIST's test set, right", figures["test_accuracy"], len(split.test))
    curves = {"MNIST test": calibrate.reliability(test.probabilities, split.test.labels)}
    altered = figures["altered_arrays"] = on_altered_arrays(subject, split.validation, per_kind)
    tell("altered arrays, right", altered["mean"], altered["images"])
    made = figures["scenes_of_held_back_mnist"] = on_scenes(subject, split.validation, per_kind)
    tell("scenes of held-back MNIST, right", made["mean"], made["images"])
    unknown = figures["outliers"] = on_outliers(subject, split.validation, 50 * per_kind)
    tell("outliers, rejected", unknown["rejected"], unknown["images"])
    if usps is not None:
        figures["usps_scanned"], answers = on_scans(subject, usps)
        tell("USPS as scans, right", figures["usps_scanned"]["accuracy"], len(usps))
        made = figures["scenes_of_usps"] = on_scenes(subject, usps, per_kind)
        tell("scenes of USPS, right", made["mean"], made["images"])
        curves["USPS"] = calibrate.reliability(answers.probabilities, usps.labels)
    return Report(figures, curves, test)


def tell(what: str, found: float, images: int) -> None:
    """Print a share of images with its 95% interval, in percent, on stderr."""
    low, high = wilson(round(found * images), images)
    line = f"{what}: {100 * found:.2f}% ({100 * low:.2f}–{100 * high:.2f}) of {images:,}"
    print(line, file=sys.stderr, flush=True)


def draw(measured: Report, split: data.Split, per_kind: int, folder: Path, prefix: str) -> None:
    """Draw the plots of a report as PNGs in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures(split.test, measured.test, folder, prefix)
    plots.reliability(measured.curves, folder / f"{prefix}reliability.png")
    for name in ("altered_arrays", "scenes_of_held_back_mnist", "scenes_of_usps"):
        if name in measured.figures:
            kinds = measured.figures[name]["kinds"]
            title = name.replace("_", " ").replace("mnist", "MNIST").replace("usps", "USPS")
            plots.bars(
                kinds,
                per_kind,
                f"Right answers: {title}",
                folder / f"{prefix}{name.replace('_', '-')}.png",
            )


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, help="a version's folder")
    source.add_argument("--url", help="the address of a server")
    add = parser.add_argument
    add("--data", type=Path, default=data.path_from_environment(), help="a local mnist.npz")
    add("--any-data", action="store_true", help="accept arrays that are not MNIST's")
    add("--usps", type=Path, default=os.environ.get("DIGITS_USPS"), help="an .npz with x and y")
    add("--per-kind", type=int, default=50, help="scenes and altered arrays of each kind")
    add("--people", type=Path, metavar="FOLDER", help="labelled images, measured instead")
    add("--plots", type=Path, help="write plots into this folder")
    add("--prefix", default="", help="of the plots' names")
    add("--card", action="store_true", help="write the figures into the card of --model")
    return parser.parse_args(argv)


def on_people(options: argparse.Namespace) -> Figures:
    """Measure the folder of labelled images that `options` name; print its table.

    Raises:
        DataError: The folder can't be used.
    """
    from training import people  # noqa: PLC0415 -- it asks a `Subject`, which is defined here

    if options.url:
        with httpx.Client(base_url=options.url, timeout=60) as client:
            figures = people.report(Service(client), options.people)
    else:
        with redirect_stdout(sys.stderr):
            figures = people.report(Folder(options.model), options.people)
    print(*people.lines(figures), sep="\n", file=sys.stderr)
    return {"people": figures}


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(argv)
    try:
        if options.people:
            figures = on_people(options)
            print(json.dumps(figures, indent=2))
            if options.card and options.model:
                note(options.model, figures)
            return 0
        split = data.load(options.data, any_data=options.any_data)
        usps = data.load_other(Path(options.usps)) if options.usps else None
    except data.DataError as error:
        print(error, file=sys.stderr)
        return 2
    if options.model:
        with redirect_stdout(sys.stderr):  # for the log of loading: stdout has the figures alone
            folder = Folder(options.model)
        measured = report(folder, split, usps, options.per_kind)
    else:
        with httpx.Client(base_url=options.url, timeout=60) as client:
            measured = report(Service(client), split, usps, options.per_kind)
    print(json.dumps(measured.figures, indent=2))
    if options.plots:
        draw(measured, split, options.per_kind, options.plots, options.prefix)
    if options.card and options.model:
        note(options.model, measured.figures)
    return 0


def note(folder: Path, figures: Figures) -> None:
    """Write figures into a version's card."""
    card = export.read_card(folder)
    card["figures"] |= figures
    export.write_card(folder, card)


if __name__ == "__main__":
    sys.exit(main())

"""How good a version is: one command for what is in a folder and for what is being served.

    python -m training.evaluate --model models/digits/1 --plots docs
    python -m training.evaluate --url http://127.0.0.1:8000

Directly, images go through `app.image`, `app.normalize` and the version as `app.classifier` loads
it; over HTTP, through POST /predict: as arrays with normalize=false, and as uploaded files.
`--card` writes the figures into the model card of `--model` and seals its manifest anew.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray

from app.inference import loading as classifier
from app.vision.decode import decode
from app.vision.normalize import normalize
from training import calibrate, cascade, export, plots
from training.calibrate import Floats
from training.corpora import corruptions, data, outliers, scenes

Figures = dict[str, Any]
BATCH = 50  # images a request
SEED = 2026  # of everything that is made to be measured on


@dataclass(frozen=True, slots=True)
class Answers:
    """probabilities float32 [n,10], and [n]: was the answer given as one to be used?"""

    probabilities: Floats
    accepted: NDArray[np.bool_]

    @property
    def labels(self) -> NDArray[np.intp]:
        best: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return best


def accepted(
    probabilities: Floats, digit_score: Floats, thresholds: dict[str, float]
) -> NDArray[np.bool_]:
    """[n]: neither not_a_digit nor uncertain, as the service decides it."""
    sure: NDArray[np.bool_] = probabilities.max(axis=1) >= thresholds["confidence"]
    return sure & (digit_score >= thresholds["digit_score"])


def answers_of(answer: cascade.Answer, thresholds: dict[str, float]) -> Answers:
    probabilities, score = answer
    return Answers(probabilities, accepted(probabilities, score, thresholds))


class Asker(Protocol):
    """Somebody who can be shown digits."""

    def arrays(self, images: NDArray[np.uint8]) -> Answers:
        """uint8 [n,28,28], read as they are."""

    def files(self, images: Sequence[bytes]) -> Answers:
        """Encoded images of any size, normalized first."""


class Folder:
    """A version on disk, asked in this process."""

    def __init__(self, folder: Path) -> None:
        self.classify = classifier.load(folder)

    def arrays(self, images: NDArray[np.uint8]) -> Answers:
        rows = self.classify(images)
        return answers_of((rows[:, :10], rows[:, 10]), asdict(self.classify.thresholds))

    def files(self, images: Sequence[bytes]) -> Answers:
        seen = [normalize(decode(image, max_pixels=50_000_000).grey) for image in images]
        answers = self.arrays(np.stack([one.digit for one in seen]))
        blank = np.array([one.box is None for one in seen])
        answers.probabilities[blank] = 0.1
        return Answers(answers.probabilities, answers.accepted & ~blank)


class Service:
    """A running server, asked over HTTP."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def arrays(self, images: NDArray[np.uint8]) -> Answers:
        return self._join(
            self._ask(
                params={"normalize": "false"}, json={"images": images[i : i + BATCH].tolist()}
            )
            for i in range(0, len(images), BATCH)
        )

    def files(self, images: Sequence[bytes]) -> Answers:
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
    """Lossless PNG of uint8 [h,w]."""
    return cv2.imencode(".png", image)[1].tobytes()


def scan(digit: NDArray[np.uint8]) -> bytes:
    """A data set's digit, uint8 [h,w] white on black, as a scanner would send it."""
    large = cv2.resize(digit, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    return png(255 - np.pad(np.asarray(large, np.uint8), large.shape[0] // 4))


def on_test_digits(ask: Asker, test: data.Digits) -> tuple[Figures, Answers]:
    """MNIST's test set as arrays and as uploads; the arrays' answers for the pictures."""
    arrays = ask.arrays(test.images)
    uploads = ask.files([png(image) for image in test.images])
    uploaded = {
        "test_accuracy_uploaded": share(uploads.labels == test.labels),
        "test_accepted_uploaded": share(uploads.accepted),
    }
    return of_answers(arrays, test) | uploaded, arrays


def of_answers(answers: Answers, digits: data.Digits) -> Figures:
    """What the card says about the answers to a test set."""
    return {
        "test_accuracy": share(answers.labels == digits.labels),
        "test_accepted": share(answers.accepted),
        "ece": round(calibrate.reliability(answers.probabilities, digits.labels).ece, 6),
        "negative_log_likelihood": nll(answers.probabilities, digits.labels),
    }


def on_scans(ask: Asker, digits: data.Digits) -> tuple[Figures, Answers]:
    """Every digit of another data set, enlarged, as dark ink on a white page."""
    answers = ask.files([scan(image) for image in digits.images])
    figures = {
        "accuracy": share(answers.labels == digits.labels),
        "accepted": share(answers.accepted),
        "ece": round(calibrate.reliability(answers.probabilities, digits.labels).ece, 6),
    }
    return figures, answers


def on_scenes(ask: Asker, digits: data.Digits, per_kind: int) -> Figures:
    """`per_kind` scenes of each kind, of digits that nothing was learnt from."""
    names = list(scenes.KINDS)
    kinds = np.tile(np.arange(len(names)), per_kind)
    sources = np.random.default_rng(SEED).integers(0, len(digits), len(kinds))
    files = [
        scenes.render(digits.images[source], names[kind], np.random.default_rng((SEED, place)))
        for place, (source, kind) in enumerate(zip(sources, kinds, strict=True))
    ]
    return by_kind(ask.files(files), digits.labels[sources], kinds, names)


def on_altered_arrays(ask: Asker, digits: data.Digits, per_kind: int) -> Figures:
    """`per_kind` arrays of each kind of `training.corpora.corruptions`, read as they are."""
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
    return by_kind(ask.arrays(images), digits.labels[sources], kinds, names)


def by_kind(
    answers: Answers, labels: NDArray[np.uint8], kinds: NDArray[np.intp], names: list[str]
) -> Figures:
    """Accuracy for each kind, and over all of them: mean, worst, and of what was accepted."""
    right = answers.labels == labels
    each = {name: share(right[kinds == kind]) for kind, name in enumerate(names)}
    return {
        "mean": round(float(np.mean(list(each.values()))), 6),
        "worst": min(each, key=lambda name: each[name]),
        "worst_accuracy": min(each.values()),
        "accepted": share(answers.accepted),
        "accuracy_of_accepted": share(right[answers.accepted]),
        "kinds": each,
    }


def on_outliers(ask: Asker, digits: data.Digits, count: int) -> Figures:
    """The share of what is no digit that is rejected, of kinds that were never trained on."""
    rng = np.random.default_rng(SEED)
    images, kinds = outliers.sample(count, rng, digits.images, digits.labels, held_back=True)
    rejected = ~ask.arrays(images).accepted
    names = list(outliers.HELD_BACK)
    letters = np.isin(kinds, [place for place, name in enumerate(names) if "letters" in name])
    return {
        "rejected": share(rejected),
        "letters_rejected": share(rejected[letters]),
        "kinds": {name: share(rejected[kinds == kind]) for kind, name in enumerate(names)},
    }


def share(flags: NDArray[np.bool_]) -> float:
    """In 0–1; of nothing, 0."""
    return round(float(np.mean(flags)), 6) if len(flags) else 0.0


def nll(probabilities: Floats, labels: NDArray[np.integer]) -> float:
    said = probabilities[np.arange(len(labels)), labels]
    return round(float(-np.log(np.maximum(said, 1e-7)).mean()), 6)


def pictures(test: data.Digits, answers: Answers, folder: Path, prefix: str = "") -> None:
    """confusion, predictions, mistakes and reliability of a test set, as PNGs in `folder`."""
    curve = calibrate.reliability(answers.probabilities, test.labels)
    said = answers.labels
    plots.confusion(test.labels, said, folder / f"{prefix}confusion.png")
    plots.predictions(test.images, test.labels, said, folder / f"{prefix}predictions.png")
    plots.mistakes(
        test.images, test.labels, answers.probabilities, folder / f"{prefix}mistakes.png"
    )
    plots.reliability({"MNIST test": curve}, folder / f"{prefix}reliability.png")


@dataclass(frozen=True, slots=True)
class Report:
    """Everything measured of one version, and the answers that its pictures are drawn from."""

    figures: Figures
    curves: dict[str, calibrate.Reliability]
    test: Answers


def report(ask: Asker, split: data.Split, usps: data.Digits | None, per_kind: int) -> Report:
    """All of it: clean digits, scenes, altered arrays, what is no digit, and another data set."""
    figures, test = on_test_digits(ask, split.test)
    curves = {"MNIST test": calibrate.reliability(test.probabilities, split.test.labels)}
    figures["altered_arrays"] = on_altered_arrays(ask, split.validation, per_kind)
    figures["scenes_of_held_back_mnist"] = on_scenes(ask, split.validation, per_kind)
    figures["outliers"] = on_outliers(ask, split.validation, 50 * per_kind)
    if usps is not None:
        figures["usps_scanned"], answers = on_scans(ask, usps)
        figures["scenes_of_usps"] = on_scenes(ask, usps, per_kind)
        curves["USPS"] = calibrate.reliability(answers.probabilities, usps.labels)
    return Report(figures, curves, test)


def draw(measured: Report, split: data.Split, folder: Path, prefix: str) -> None:
    """The pictures of a report, as PNGs in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures(split.test, measured.test, folder, prefix)
    plots.reliability(measured.curves, folder / f"{prefix}reliability.png")
    for name in ("altered_arrays", "scenes_of_held_back_mnist", "scenes_of_usps"):
        if name in measured.figures:
            kinds = measured.figures[name]["kinds"]
            title = f"Accuracy, %: {name.replace('_', ' ')}"
            plots.bars(kinds, title, folder / f"{prefix}{name.replace('_', '-')}.png")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--model", type=Path, help="a version's folder")
    who.add_argument("--url", help="where a server answers")
    add = parser.add_argument
    add("--data", type=Path, default=data.path_from_environment(), help="a local mnist.npz")
    add("--any-data", action="store_true", help="accept what is not MNIST")
    add("--usps", type=Path, default=os.environ.get("DIGITS_USPS"), help="an .npz with x and y")
    add("--per-kind", type=int, default=50, help="scenes and altered arrays of each kind")
    add("--plots", type=Path, help="write pictures into this folder")
    add("--prefix", default="", help="of the pictures' names")
    add("--card", action="store_true", help="write the figures into the card of --model")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    try:
        split = data.load(options.data, any_data=options.any_data)
        usps = data.load_other(Path(options.usps)) if options.usps else None
    except data.DataError as error:
        print(error, file=sys.stderr)
        return 2
    if options.model:
        measured = report(Folder(options.model), split, usps, options.per_kind)
    else:
        with httpx.Client(base_url=options.url, timeout=60) as client:
            measured = report(Service(client), split, usps, options.per_kind)
    print(json.dumps(measured.figures, indent=2))
    if options.plots:
        draw(measured, split, options.plots, options.prefix)
    if options.card and options.model:
        card = json.loads((options.model / "model_card.json").read_text())
        card["figures"] |= measured.figures
        export.write_card(options.model, card)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Comparison: two versions on the same labelled images of yours.

    python -m training.compare 4 6 --images FOLDER
    python -m training.compare models/digits/5 /tmp/candidate/1 --images FOLDER --out report

FOLDER has `labels.csv` or a folder a label (`training.corpora.folder`), and is read as the service
reads images. The report is `comparison.json` and `comparison.html` under --out: which version is
right where, overall, by label and by kind; whether that can be chance; acceptance, calibration,
speed, size; and a sheet of the images on which the versions differ.
"""

import argparse
import json
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import ModelError
from app.inference.card import Interval, wilson
from app.inference.classifier import Compute
from training import calibrate, comparison_page, evaluate, export, intervals, plots, speed
from training.corpora import data, folder
from training.corpora.folder import LabelledImages
from training.evaluate import Answers, share

Figures = dict[str, Any]
Flags = NDArray[np.bool_]

TIMED = 256
"""Images whose classification is timed."""
LISTED = 1_000
"""Images, at most, that the report lists as answered differently."""
SHOWN = 100
"""Of these, those that are on the sheet."""
UNLIKELY = 0.05
"""Probability below which a difference is said to be more than chance."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A version and its answers to the images."""

    folder: Path
    compute: Compute
    card: export.Card
    answers: Answers
    right: Flags

    @property
    def name(self) -> str:
        """The version's number."""
        return self.folder.name


def ask(version: Path, images: LabelledImages) -> Contender:
    """Load a version, and have it answer.

    Raises:
        ModelError: It can't be loaded.
    """
    with redirect_stdout(sys.stderr):  # for the log of loading
        loaded = evaluate.Folder(version)
    answers = loaded.normalized(images.images, images.blank)
    right = (answers.labels == images.labels) & ~images.blank
    return Contender(version, loaded.classifier, dict(loaded.classifier.card), answers, right)


def compare(first: Contender, second: Contender, images: LabelledImages) -> Figures:
    """Return the figures of the report."""
    durations = timed(first, second, images)
    labels = np.array([str(label) for label in images.labels])
    return {
        "images": {"count": len(images), "words": list(images.words())},
        "versions": [
            alone(contender, images) | durations[place]
            for place, contender in enumerate((first, second))
        ],
        "difference": against(first.right, second.right),
        "labels": by_group(first.right, second.right, labels),
        "kinds": by_group(first.right, second.right, np.array(images.kinds)),
        "differing": differing(first, second, images)[:LISTED],
    }


def alone(contender: Contender, images: LabelledImages) -> Figures:
    """Return the figures of a version by itself."""
    answers, right = contender.answers, contender.right
    files = [path for path in contender.folder.rglob("*") if path.is_file()]
    return {
        "version": contender.name,
        "accuracy": share(right),
        "interval": rounded(wilson(int(right.sum()), len(right))),
        "accepted": share(answers.accepted),
        "accuracy_of_accepted": share(right[answers.accepted]),
        "ece": round(calibrate.reliability(answers.probabilities, images.labels).ece, 6),
        "negative_log_likelihood": evaluate.nll(answers.probabilities, images.labels),
        "bytes": sum(path.stat().st_size for path in files),
        "parameters": parameters(contender.card),
    }


def parameters(card: export.Card) -> int | None:
    """Return the parameters of all networks of a version, where its card has them."""
    networks = [card, card["cascade"]] if "cascade" in card else [card]
    counts = [network["parameters"] for network in networks if "parameters" in network]
    return sum(counts) if len(counts) == len(networks) else None


def timed(first: Contender, second: Contender, images: LabelledImages) -> list[Figures]:
    """Return the microseconds an image of each version, images alone and in full batches."""
    typical = images.images[np.arange(TIMED) % len(images)]
    computes = [first.compute, second.compute]
    single, full = (
        speed.microseconds(computes, typical, size) for size in (speed.ALONE, speed.FULL)
    )
    return [
        {"microseconds_alone": round(a, 1), "microseconds_full": round(b, 1)}
        for a, b in zip(single, full, strict=True)
    ]


def against(first: Flags, second: Flags) -> Figures:
    """Return who is right where, [n] each, and whether that can be chance."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return {
        "accuracy": round(float(second.mean() - first.mean()), 6),
        "interval": rounded(intervals.difference(only_first, only_second, len(first))),
        "both_right": int((first & second).sum()),
        "only_first_right": only_first,
        "only_second_right": only_second,
        "both_wrong": int((~first & ~second).sum()),
        "mcnemar_p": float(f"{intervals.mcnemar(only_first, only_second):.3g}"),
    }


def by_group(first: Flags, second: Flags, groups: NDArray[np.str_]) -> Figures:
    """Return who is right where in each group; nothing where no group has a name."""
    return {
        str(name): {
            "count": int((groups == name).sum()),
            "accuracies": [share(first[groups == name]), share(second[groups == name])],
            **against(first[groups == name], second[groups == name]),
        }
        for name in np.unique(groups)
        if any(groups)
    }


def differing(first: Contender, second: Contender, images: LabelledImages) -> list[Figures]:
    """List the images that the versions label, or accept, differently; the wrong ones first."""
    a, b = first.answers, second.answers
    other = np.flatnonzero((a.labels != b.labels) | (a.accepted != b.accepted))
    order = sorted(other, key=lambda i: (a.labels[i] == b.labels[i], first.right[i], i))
    return [
        {
            "file": images.names[index],
            "label": int(images.labels[index]),
            "answers": [
                {
                    "label": int(answers.labels[index]),
                    "confidence": round(float(answers.probabilities[index].max()), 4),
                    "accepted": bool(answers.accepted[index]),
                }
                for answers in (a, b)
            ],
        }
        for index in order
    ]


def verdict(figures: Figures) -> str:
    """Say in a sentence which version is better on these images, if that can be told."""
    first, second = (version["version"] for version in figures["versions"])
    found = figures["difference"]
    wins, losses = found["only_second_right"], found["only_first_right"]
    counts = f"{wins} images are right with {second} alone, {losses} with {first} alone"
    chance = f"p = {found['mcnemar_p']:.2g}"
    if found["mcnemar_p"] >= UNLIKELY:
        return f"No difference can be told between {first} and {second}: {counts} ({chance})."
    better = second if wins > losses else first
    return f"Version {better} is better on these images: {counts} ({chance})."


def rounded(interval: Interval) -> list[float]:
    """Return an interval as the report has it."""
    return [round(edge, 6) for edge in interval]


def write(
    figures: Figures, first: Contender, second: Contender, images: LabelledImages, out: Path
) -> None:
    """Write the report into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    places = {name: index for index, name in enumerate(images.names)}
    shown = figures["differing"][:SHOWN]
    plots.differences(
        images.images[[places[entry["file"]] for entry in shown]],
        [f"{entry['label']}: {' → '.join(map(_shown, entry['answers']))}" for entry in shown],
        [entry["answers"][1]["label"] != entry["label"] for entry in shown],
        out / "differing.png",
    )
    curves = {
        f"Version {contender.name}": calibrate.reliability(
            contender.answers.probabilities, images.labels
        )
        for contender in (first, second)
    }
    plots.reliability(curves, out / "reliability.png")
    (out / "comparison.json").write_text(
        json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    page = comparison_page.render(figures, verdict(figures), out)
    (out / "comparison.html").write_text(page, encoding="utf-8")


def _shown(answer: Figures) -> str:
    return f"{answer['label']}" if answer["accepted"] else f"{answer['label']}?"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.compare", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("first", help="the number of a version, or its folder")
    add("second", help="of the other")
    add("--images", type=Path, metavar="FOLDER", required=True, help="labelled images")
    add("--models", type=Path, default=Path("models/digits"), help="where versions are")
    add("--out", type=Path, help="folder of the report; default: under runs/")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(argv)
    versions = [
        options.models / name if name.isdecimal() else Path(name)
        for name in (options.first, options.second)
    ]
    out = options.out or Path("runs") / f"compare-{versions[0].name}-{versions[1].name}"
    try:
        images = folder.read(options.images)
        first, second = (ask(version, images) for version in versions)
    except (data.DataError, ModelError) as error:
        print(error, file=sys.stderr)
        return 2
    figures = compare(first, second, images)
    write(figures, first, second, images, out)
    for word in figures["images"]["words"]:
        print(word)
    for version in figures["versions"]:
        print("  ".join(f"{name} {value}" for name, value in version.items()))
    print(verdict(figures))
    print(f"Report: {out / 'comparison.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

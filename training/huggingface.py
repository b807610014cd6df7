"""A version's card in the form of Hugging Face: the README of a model repository.

    python -m training.huggingface models/digits/5 --out README.md

Front matter after https://huggingface.co/docs/hub/model-cards, with the figures as `model-index`;
then what the model is for, where it fails, what it learned from and how it was measured. Figures
that a card lacks are left out.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.inference.card import flat, images_of, wilson
from training import export

Card = Mapping[str, Any]

COLLECTIONS = {
    "test_accuracy": ("MNIST, test set", "mnist"),
    "usps_scanned.accuracy": ("USPS, scanned; never learned from", "usps"),
    "altered_arrays.mean": ("MNIST held back, altered", "mnist-altered"),
    "scenes_of_held_back_mnist.mean": ("MNIST held back, as scenes", "mnist-scenes"),
    "scenes_of_usps.mean": ("USPS, as scenes", "usps-scenes"),
}
"""Accuracies on a card: their title, and an identifier."""
TABLE = ("| images | accuracy | 95% interval | number |", "| --- | --- | --- | --- |")
INTENDED = """\
Reads one handwritten digit from a photo, a scan, a drawing or pixels, and says how sure it is, or
that there is no digit to be sure of. It is the model of the service Digits, which decodes and
normalizes what comes; on its own it takes digits as MNIST has them: uint8 [n,28,28], white ink on
black, the longer side of the ink 20 pixels, its centre of mass in the middle."""
LIMITS = """\
- It has learned from digits as Americans write them. A European 1 or a crossed 7, a g-shaped 9,
  or children's writing may be read less well: measure on your own images (`training.compare`).
- It reads one digit. Of several, or of a letter that looks like a digit (o, l, s, q), it may be
  sure.
- Its confidence is calibrated on pictures like those that it was measured on. On others it may be
  too sure; mistakes that it is sure of can't be seen without labels.
- Someone who can choose the pixels can have any digit read. Don't let a digit alone move money."""
DATA = """\
MNIST's training set, from which 5,000 images are held back for every choice (Yann LeCun, Corinna
Cortes and Christopher J. C. Burges; CC BY-SA 3.0), and images made from it: altered arrays,
scenes, outliers. Versions whose arguments name fonts or strokes have learned from digits drawn
with these, too (see NOTICE). USPS is for measuring alone."""


def front_matter(card: Card) -> dict[str, Any]:
    """Return the metadata that Hugging Face reads."""
    figures = flat(card.get("figures", {}))
    results = [
        {
            "task": {"type": "image-classification"},
            "dataset": {"type": identifier, "name": title},
            "metrics": [{"type": "accuracy", "value": figures[name]}],
        }
        for name, (title, identifier) in COLLECTIONS.items()
        if name in figures
    ]
    return {
        "license": "apache-2.0",
        "pipeline_tag": "image-classification",
        "tags": ["handwriting", "digits", "mnist", "tensorflow", "tflite"],
        "datasets": ["ylecun/mnist"],
        "metrics": ["accuracy"],
        "model-index": [{"name": f"{card['name']}-{card['version']}", "results": results}],
    }


def rows(card: Card) -> Iterator[str]:
    """Yield a row of the table for each accuracy, with its interval where it has one."""
    figures = flat(card.get("figures", {}))
    for name, (title, _) in COLLECTIONS.items():
        if name not in figures:
            continue
        share, interval, images = figures[name], "", images_of(figures, name)
        if images:
            low, high = wilson(round(share * images), images)
            interval = f"{100 * low:.2f}–{100 * high:.2f}"
        yield f"| {title} | {100 * share:.2f} | {interval} | {images or ''} |"


def readme(card: Card) -> str:
    """Return the README of the version that `card` describes."""
    figures, thresholds = flat(card.get("figures", {})), card["thresholds"]
    # JSON is YAML, and needs no library to write it.
    head = "\n".join(f"{key}: {json.dumps(value)}" for key, value in front_matter(card).items())
    parts = [
        f"---\n{head}\n---",
        f"# {card['name'].title()}, version {card['version']}",
        f"## Intended use\n\n{INTENDED}",
        f"## Limits\n\n{LIMITS}",
        "\n".join(["## Accuracy, %", "", *TABLE, *rows(card)]),
    ]
    others = {
        "ece": "Calibration error (ECE), MNIST's test set",
        "outliers.rejected": "Share of images without a digit that is rejected",
        "test_accepted": "Share of MNIST's test set that is accepted",
    }
    shown = [f"- {others[name]}: {figures[name]:.4f}" for name in others if name in figures]
    parts.append(
        "## Confidence and rejection\n\n"
        f"An answer is rejected below a digit score of {thresholds['digit_score']:.4f} or a "
        f"confidence of {thresholds['confidence']:.4f}.\n\n" + "\n".join(shown)
    )
    parts.append(f"## Training\n\n{DATA}\n\n{_training(card)}")
    return "\n\n".join(parts).rstrip() + "\n"


def _training(card: Card) -> str:
    words = [f"Architecture `{card['arch']}`"] if "arch" in card else []
    if "parameters" in card:
        words.append(f"{card['parameters']:,} parameters")
    if cascade := card.get("cascade"):
        words.append(f"with `{cascade['arch']}` ({cascade['parameters']:,}) where it is not sure")
    arguments = card.get("training", {}).get("arguments", {})
    given = ", ".join(f"{name} {value}" for name, value in arguments.items() if value)
    libraries = ", ".join(f"{name} {value}" for name, value in card.get("libraries", {}).items())
    lines = [", ".join(words) + "." if words else ""]
    lines += [f"Arguments: {given}."] if given else []
    lines += [f"Libraries: {libraries}."] if libraries else []
    return "\n\n".join(line for line in lines if line)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.huggingface", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("version", type=Path, help="the version's folder")
    parser.add_argument("--out", type=Path, help="file to write; without, it is printed")
    options = parser.parse_args(argv)
    try:
        text = readme(export.read_card(options.version))
        if options.out:
            options.out.write_text(text, encoding="utf-8")
        else:
            print(text, end="")
    except (OSError, ValueError, KeyError) as error:
        print(f"{options.version}: the card can't be read ({error})", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

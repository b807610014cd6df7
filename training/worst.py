"""Worst: the kinds of validation digits that a version does least well, as a picture.

    python -m training.worst --model models/digits/7 --out docs/v7-worst.png \
        .model/validation/fonts.npz .model/validation/strokes.npz .model/validation/scenes.npz

The pools are those of `training.corpora.fonts`, `strokes` and `scenes`, drawn by code from
held-back families, seeds and digits: nobody's own digits are shown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.inference import loading
from app.inference.classifier import Classifier, Images
from training import evaluate, plots

KINDS = 10
"""Kinds that are shown, the worst first."""
EXAMPLES = 12
"""Digits that are shown of each, at most."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of digits, and how a version does on it.

    Attributes:
        name: Of its pool, and its own.
        count: Digits of the kind.
        done: Those that are accepted and right.
        images: [n,28,28], those that are not.
        answers: [n], what is answered for each.
        accepted: [n], whether that is accepted.
    """

    name: str
    count: int
    done: int
    images: Images
    answers: NDArray[np.intp]
    accepted: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """The share that is accepted and right."""
        return self.done / self.count


def kinds_of(classifier: Classifier, file: Path) -> Iterable[Kind]:
    """Yield the kinds of a pool."""
    with np.load(file) as pool:
        digits, labels = pool["digits"], pool["labels"]
        kinds, names = pool["kinds"], pool["kind_names"]
    answers = evaluate.judge(classifier(digits), classifier.thresholds)
    done = answers.accepted & (answers.labels == labels)
    for place in np.unique(kinds):
        of_it, failed = kinds == place, (kinds == place) & ~done
        yield Kind(
            name=f"{file.stem}: {names[place]}",
            count=int(of_it.sum()),
            done=int((of_it & done).sum()),
            images=digits[failed],
            answers=answers.labels[failed],
            accepted=answers.accepted[failed],
        )


def worst(classifier: Classifier, files: Iterable[Path]) -> list[Kind]:
    """Return the `KINDS` kinds of all pools of which the least share is accepted and right.

    Kinds without a failure are left out.
    """
    every = [kind for file in files for kind in kinds_of(classifier, file)]
    failing = [kind for kind in every if kind.done < kind.count]
    return sorted(failing, key=lambda kind: kind.share)[:KINDS]


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.worst", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("pools", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, required=True, help="a version's folder")
    parser.add_argument("--out", type=Path, required=True, help="the picture, a PNG")
    options = parser.parse_args(argv)
    with redirect_stdout(sys.stderr):
        found = worst(loading.load(options.model), options.pools)
    rows = []
    for kind in found:
        print(f"{kind.name}: {kind.done} of {kind.count} accepted and right")
        shown = slice(0, EXAMPLES)
        title = f"{kind.name}\n{100 * kind.share:.0f}% of {kind.count}"
        rows.append((title, kind.images[shown], kind.answers[shown], kind.accepted[shown]))
    plots.failures(rows, EXAMPLES, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

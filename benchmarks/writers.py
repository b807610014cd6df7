"""What a hundred of a writer's digits bring that writer, and what they cost the others.

    python -m benchmarks.writers --from models/digits/7 --data mnist.npz --usps usps.npz

draws two writers by `training.corpora.strokes`, of whom no corpus and no test has the seed: each
writes a digit in one way, with one slant and one pen. A hundred digits of a writer are a folder of
PNG files, of which `training.train --images FOLDER --from VERSION` learns with its defaults; five
hundred others by the same hand are measured before and after, with MNIST's test set and USPS.
Nothing is chosen by the result: one run a writer.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.vision.grayscale import GrayImage
from training import export, validation
from training.corpora import Rng, data, folder, strokes

LEARNED, MEASURED = 100, 500
"""Digits of a writer: learned, of which `training.train` holds a fifth back, and measured."""
HEAD = "| from | writer | 500 others by this hand | MNIST's test set | USPS |"
SIDE = 120
"""Pixels of a picture's side."""


@dataclass(frozen=True, slots=True)
class Writer:
    """A hand: which way it writes each digit; everything else follows from its seed.

    Attributes:
        title: What is particular about it.
        seed: Of its habits.
        ways: Names of ways of writing, instead of those that its seed gives.
    """

    title: str
    seed: int
    ways: tuple[str, ...]

    def digit(self, label: int, place: int) -> GrayImage:
        """Draw the writer's `place`-th digit: dark ink [h,w] on white."""
        habit, rng = np.random.default_rng(self.seed), np.random.default_rng((self.seed, place))
        pen = float(habit.uniform(0.05, 0.14))
        own = [way for way in self.ways if way[0] == str(label)]
        ways = own or [way for way in strokes.names() if way[0] == str(label)]
        way = ways[int(np.random.default_rng((self.seed, label)).integers(len(ways)))]
        written = strokes.handwritten(strokes.skeleton(way, rng), habit)
        paced = [strokes.paced(stroke, rng) for stroke in written]
        ink = strokes.inked(paced, pen, rng, dotted=False)
        return on_paper(ink, rng)


WRITERS = (
    Writer("ones with long flags", 7001, ("1 flag apart", "1 curved flag")),
    Writer("nines like g", 7002, ("9 like g", "9 like g looped")),
)


def on_paper(ink: GrayImage, rng: Rng) -> GrayImage:
    """Put ink [h,w] on white paper, at a size and place of its own."""
    scale = SIDE * rng.uniform(0.45, 0.75) / max(ink.shape)
    small = cv2.resize(ink, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    paper = np.full((SIDE, SIDE), 255, np.uint8)
    height, width = small.shape
    left, top = (int(rng.integers(SIDE - side)) for side in (width, height))
    paper[top : top + height, left : left + width] -= np.asarray(small, np.uint8)
    return paper


def write(writer: Writer, images: Path, places: range) -> None:
    """Write digits of a writer, as many of each label, and their `labels.csv`."""
    images.mkdir()
    lines = ["file,label"]
    for place in places:
        cv2.imwrite(str(images / f"{place}.png"), writer.digit(place % 10, place))
        lines.append(f"{place}.png,{place % 10}")
    (images / "labels.csv").write_text("\n".join(lines) + "\n")


def measured(version: Path, collections: dict[str, data.Digits]) -> dict[str, float]:
    """Return a version's accuracy, in %, on each collection."""
    compute = export.reader(version)
    return {
        name: 100 * float(np.mean(compute(digits.images)[:, :10].argmax(1) == digits.labels))
        for name, digits in collections.items()
    }


def trained(version: Path, images: Path, place: Path) -> Path:
    """Train `version` on with a folder of images, as anyone would; return the last version made."""
    command = [sys.executable, "-m", "training.train", "--images", str(images)]
    command += ["--from", str(version), "--models", str(place / "models"), "--runs"]
    subprocess.run([*command, str(place / "runs")], check=True)
    return max((place / "models").iterdir(), key=lambda made: int(made.name))


def studied(writer: Writer, options: Any, place: Path) -> str:
    """Return a writer's row of the table."""
    write(writer, place / "learned", range(LEARNED))
    write(writer, place / "measured", range(LEARNED, LEARNED + MEASURED))
    collections = {
        "own": folder.read(place / "measured").digits,
        "MNIST": data.load(options.data).test,
        "USPS": validation.read(options.usps),
    }
    before = measured(options.source, collections)
    after = measured(trained(options.source, place / "learned", place), collections)
    cells = [f"{before[name]:.2f} → {after[name]:.2f}" for name in collections]
    return f"| {options.source.name} | {writer.title} | {' | '.join(cells)} |"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.writers", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--from", dest="source", type=Path, default=Path("models/digits/7"))
    parser.add_argument("--data", type=Path, default=data.path_from_environment())
    parser.add_argument("--usps", type=Path, required=True, help="digits with x and y")
    options = parser.parse_args()
    rows = [HEAD, "|" + " --- |" * 5]
    for writer in WRITERS:
        with tempfile.TemporaryDirectory() as place:
            rows.append(studied(writer, options, Path(place)))
        print(rows[-1], flush=True)
    print("\n".join(rows))


if __name__ == "__main__":
    main()

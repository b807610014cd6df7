"""Strips: rows made by code as `app.vision.strip` brings them to the row net, with their texts.

    python -m training.corpora.strips --data mnist.npz --fonts .fonts --seed 1 --out strips

writes a pool in parts: each an .npz with `pixels` uint8 [28, all columns], `ends` [n], where each
strip ends, and `texts` [n]. A row's digits are of one source: MNIST's training digits, a
handwriting font, or skeletons. `training.corpora.rows` puts them together, and they are found as
the service finds a row. What is no number has no text.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from app.vision.grayscale import GrayImage
from app.vision.segment import find_row
from app.vision.strip import no_strip, strip_of
from training.corpora import Rng, canvases, fonts, rows, strokes
from training.corpora.data import Digits, load

KINDS = {
    "side by side": 0.05, "spaced": 0.06, "close": 0.05, "touching": 0.1, "overlapping": 0.13,
    "all touching": 0.1, "photo": 0.08, "ruled": 0.09, "boxed": 0.1, "pencil": 0.12,
    "canvas": 0.06, "": 0.06,
}  # fmt: skip
"""How often a row is of each kind; the last is no number."""
LENGTHS, LENGTH_WEIGHTS = range(1, 11), (6, 12, 16, 20, 16, 12, 6, 5, 4, 3)
SOURCES = (0.64, 0.18, 0.18)
"""How often a row's digits are MNIST's, of a font, or skeletons'."""
FONT_DIGITS, STROKE_DIGITS = 80, 8_000
"""Digits that are drawn of each font, and of skeletons."""
PART = 2_000
"""Rows of a part."""


Draw = Callable[[str, Rng], GrayImage]
"""Draws a digit: white ink on black, [h,w]."""


class Strips(NamedTuple):
    """Rows as the row net sees them: [28,w] each, and their texts."""

    images: list[GrayImage]
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Hands:
    """The digits that rows are made of, by source: MNIST's, each font's, skeletons'."""

    mnist: Digits
    fonts: list[Digits]
    strokes: Digits

    def draw(self, count: int, rng: Rng) -> tuple[str, list[GrayImage]]:
        """Draw the digits of a row, all of one source, and its text."""
        source = int(rng.choice(3, p=SOURCES))
        family = self.fonts[int(rng.integers(len(self.fonts)))]
        digits = (self.mnist, family, self.strokes)[source]
        places = rng.integers(len(digits), size=count)
        text = "".join(str(digits.labels[place]) for place in places)
        return text, [digits.images[place] for place in places]


def hands(mnist: Digits, folder: Path, seed: int) -> Hands:
    """Draw the digits of fonts and skeletons.

    Raises:
        DataError: A font is missing, or another than the lock's.
    """
    fonts.verify(folder)
    names = fonts.families(held_back=False)
    families = [
        _drawn(FONT_DIGITS, (seed, number), partial(fonts.drawn, fonts.file_of(folder, name)))
        for number, name in enumerate(names)
    ]
    ways = strokes.names()

    def skeleton(label: str, rng: Rng) -> GrayImage:
        some = [way for way in ways if way[0] == label]
        return strokes.drawn(some[int(rng.integers(len(some)))], rng)

    return Hands(mnist, families, _drawn(STROKE_DIGITS, (seed, 1000), skeleton))


def _drawn(count: int, seed: tuple[int, int], draw: Draw) -> Digits:
    """Draw `count` digits, 0 to 9 in turn, in MNIST's form."""
    labels = (np.arange(count) % 10).astype(np.uint8)
    rng = np.random.default_rng(seed)
    return Digits(np.stack([canvases.fitted(draw(str(label), rng)) for label in labels]), labels)


def strip(picture: GrayImage) -> GrayImage:
    """The strip of the row in a picture [h,w]; one without columns where there is none."""
    plane = find_row(picture).plane
    return no_strip() if plane is None else strip_of(plane[0])


def made(source: Hands, *, count: int, seed: int, first: int = 0) -> Strips:
    """Make rows of all kinds; each has a seed of its own, so that a pool may be made in parts."""
    images, texts = [], []
    for index in range(first, first + count):
        rng = np.random.default_rng((seed, index))
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        text, digits = source.draw(length(rng), rng)
        if not kind:
            text, picture = "", rows.no_number(rng)
        else:
            picture = rows.render(digits, kind, rng)
        image = strip(picture)
        if image.shape[1]:
            images.append(image)
            texts.append(text)
    return Strips(images, texts)


def length(rng: Rng) -> int:
    """Draw how many digits a row has."""
    weights = np.array(LENGTH_WEIGHTS, float)
    return int(rng.choice(LENGTHS, p=weights / weights.sum()))


def write(some: Strips, path: Path) -> None:
    """Write a part of a pool."""
    widths = [image.shape[1] for image in some.images]
    pixels = np.concatenate(some.images, axis=1)
    np.savez_compressed(path, pixels=pixels, ends=np.cumsum(widths), texts=np.array(some.texts))


def read(folder: Path) -> Strips:
    """Read all parts of a pool."""
    images: list[GrayImage] = []
    texts: list[str] = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as part:
            images += np.split(part["pixels"], part["ends"][:-1], axis=1)
            texts += part["texts"].tolist()
    return Strips(images, texts)


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.corpora.strips", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz")
    parser.add_argument("--fonts", type=Path, default=Path(".fonts"), help="folder of the fonts")
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder of the pool's parts")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    source = hands(load(args.data).train, args.fonts, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    for number, first in enumerate(range(0, args.count, PART)):
        count = min(PART, args.count - first)
        write(made(source, count=count, seed=args.seed, first=first), args.out / f"{number:03}.npz")
        print(f"{first + count} of {args.count} rows", flush=True)


if __name__ == "__main__":
    main()

"""`python -m benchmarks.readers --data mnist.npz --usps usps.npz`: the table of other readers.

`--install` makes the environments first. A reader that is not there is left out, and named.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from app.inference.card import wilson
from app.vision.grayscale import GrayImage
from training.corpora.data import Digits
from training.numbers import made, sets

ENVIRONMENTS = Path(".readers")
WORKER = Path(__file__).with_name("worker.py")
SEED = 71
ENLARGED = 3
"""How much larger the data sets' own pixels are made: text readers expect some 80 pixels."""
TIMED = "MNIST, side by side"
"""The rows that the time is taken on: of four digits."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader, and where it is.

    Attributes:
        name: As the worker knows it.
        title: As the table has it.
        requirements: What its environment has; empty for this one.
        program: What has to be on the path.
        most: Rows of a kind that it is given at most, where it takes seconds for each.
    """

    name: str
    title: str
    requirements: tuple[str, ...] = ()
    program: str = ""
    most: int = 10_000

    @property
    def folder(self) -> Path:
        """Its environment, shared with those that want the same."""
        return ENVIRONMENTS / self.requirements[0].partition("=")[0]

    @property
    def python(self) -> Path:
        """The interpreter that it runs in."""
        return self.folder / "bin" / "python" if self.requirements else Path(sys.executable)

    @property
    def is_installed(self) -> bool:
        """Whether it can be run."""
        return self.python.exists() and (not self.program or bool(shutil.which(self.program)))


RAPIDOCR = ("rapidocr==3.10.0", "onnxruntime==1.32.0")
READERS = (
    Reader("digits", "Digits, `POST /read`"),
    Reader("rapidocr_recognizer", "RapidOCR, recognizer alone", RAPIDOCR),
    Reader("rapidocr_whole", "RapidOCR, whole", RAPIDOCR, most=20),
    Reader("ddddocr", "ddddocr", ("ddddocr==1.6.1",)),
    Reader("tesseract", "Tesseract", program="tesseract"),
    Reader("ocrad", "OCRAD", program="ocrad"),
)
ROWS = {
    TIMED: ("MNIST", "side by side"),
    "MNIST, touching": ("MNIST", "touching"),
    "MNIST, photo": ("MNIST", "photo"),
    "USPS, side by side": ("USPS", "side by side"),
}
PLAIN = {"side by side"}
"""Kinds in white on black, a digit's data set's own pixels: turned to dark on light for all."""


def install(reader: Reader) -> None:
    """Make a reader's environment, if it wants one and has none."""
    if not reader.requirements or reader.python.exists():
        return
    subprocess.run([sys.executable, "-m", "venv", str(reader.folder)], check=True)
    pip = [str(reader.python), "-m", "pip", "install", "--quiet", *reader.requirements]
    subprocess.run(pip, check=True)


def write_rows(digits: Digits, kind: str, folder: Path, *, count: int) -> list[str]:
    """Write rows of four digits as PNGs; return their texts, in the order of the files' names."""
    texts = []
    for number, (text, picture) in enumerate(made(digits, kind, [4], count, SEED)):
        cv2.imwrite(str(folder / f"{number:05}.png"), presented(picture, kind))
        texts.append(text)
    return texts


def presented(picture: GrayImage, kind: str) -> GrayImage:
    """The picture as all readers are given it."""
    if kind not in PLAIN:
        return picture
    size = picture.shape[1] * ENLARGED, picture.shape[0] * ENLARGED
    return 255 - np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def read_all(reader: Reader, folder: Path, count: int) -> tuple[list[str], list[float]]:
    """What a reader makes of the first files in a folder: digits alone, and seconds for each."""
    command = [str(reader.python.absolute()), str(WORKER), reader.name, str(folder), str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]
    texts = ["".join(filter("0123456789".__contains__, answer["text"])) for answer in answers]
    return texts, [answer["seconds"] for answer in answers]


def share(texts: Sequence[str], expected: Sequence[str]) -> str:
    """The share of whole numbers that are right, with its interval."""
    right = sum(text == wanted for text, wanted in zip(texts, expected, strict=True))
    low, high = wilson(right, len(expected))
    return f"{100 * right / len(expected):.1f} ({100 * low:.1f}–{100 * high:.1f})"


def table(readers: Iterable[Reader], digits: dict[str, Digits], *, count: int) -> Iterable[str]:
    """Yield the lines of the table."""
    with tempfile.TemporaryDirectory() as top:
        expected = {}
        for number, (name, (source, kind)) in enumerate(ROWS.items()):
            folder = Path(top, str(number))
            folder.mkdir()
            expected[name] = folder, write_rows(digits[source], kind, folder, count=count)
        yield f"| whole numbers right, % (95%) | n | {' | '.join(ROWS)} | ms a row |"
        yield f"| --- |{' --- |' * (len(ROWS) + 2)}"
        for reader in readers:
            cells, milliseconds = [], 0.0
            rows = min(count, reader.most)
            for name, (folder, texts) in expected.items():
                read, seconds = read_all(reader, folder, rows)
                cells.append(share(read, texts[:rows]))
                if name == TIMED:
                    milliseconds = 1000 * sum(seconds) / len(seconds)
            yield f"| {reader.title} | {rows} | {' | '.join(cells)} | {milliseconds:.1f} |"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readers", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="MNIST, as an .npz")
    parser.add_argument("--usps", type=Path, required=True, help="USPS, as an .npz")
    parser.add_argument("--count", type=int, default=200, help="rows of a kind (%(default)s)")
    parser.add_argument("--install", action="store_true", help="make the environments first")
    options = parser.parse_args()
    if options.install:
        for reader in READERS:
            install(reader)
    mnist, usps = sets(options.data, options.usps).reported
    there = [reader for reader in READERS if reader.is_installed]
    for line in table(there, {"MNIST": mnist, "USPS": usps}, count=options.count):
        print(line, flush=True)
    for reader in READERS:
        if reader not in there:
            print(f"\n{reader.title} is not installed, and left out.")


if __name__ == "__main__":
    main()

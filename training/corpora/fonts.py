"""Fonts: digits of handwriting fonts with open licences, each family another hand.

    python -m training.corpora.fonts fetch --fonts .fonts          what `make fonts` does
    python -m training.corpora.fonts check --fonts .fonts --model models/digits/6
    python -m training.corpora.fonts pool --fonts .fonts --count 60000 --seed 1 --out fonts.npz

`fetch` has npm pack the `@fontsource` packages of `fonts.lock.json`, and takes from each its Latin
font, whose SHA-256 must be the lock's. None is in the repository, and none is shipped: they are for
training alone. The lock names each family's licence.

A family's digits must be drawn as digits. `check` prints how many of a family's ten, drawn plainly,
a version reads, so that the families it hardly reads are looked at. All 67 were looked at; version
4 reads eight digits or more of each but amatic-sc, whose digits are digits, a quarter as wide as
high.

`pool` draws digits as outlines, or with a pen of any width along the middle of their strokes, bends
and normalizes them as `training.corpora.strokes` does its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.vision.grayscale import GrayImage
from training.corpora import Rng, canvases, outliers, strokes
from training.corpora.data import DataError
from training.corpora.scenes import WORK, box_of, stroke_distance

LOCK = Path(__file__).with_name("fonts.lock.json")
HELD_BACK = (
    "annie-use-your-telescope", "caveat", "cookie", "damion", "gaegu", "indie-flower",
    "marck-script", "patrick-hand", "reenie-beanie", "sacramento", "sriracha", "yellowtail",
)  # fmt: skip
"""Families that are never trained on: chosen once, before any training, of every style."""
LEFT_OUT = {
    "condiment": "the package does not state the font's own licence",
    "zcool-kuaile": "its 0 is a square, and its 6 and 9 have none but straight strokes",
}
"""Families that were looked at and are not in the lock, and why."""
OUTLINED = 0.3
"""Share drawn as the font's outline; the others are drawn along the middle of its strokes."""


def lock() -> dict[str, dict[str, str]]:
    """Return the families, each with the version, licence and SHA-256 of its file."""
    families: dict[str, dict[str, str]] = json.loads(LOCK.read_text())
    return families


def families(*, held_back: bool) -> list[str]:
    """Return the names of the families to learn from, or of those held back."""
    return [name for name in sorted(lock()) if (name in HELD_BACK) == held_back]


def file_of(folder: Path, family: str) -> Path:
    """Return the path of a family's font."""
    return folder / f"{family}-latin-400-normal.woff"


def verify(folder: Path) -> None:
    """Check every font in `folder` against the lock.

    Raises:
        DataError: A font is missing, or another than the lock's.
    """
    for family, entry in lock().items():
        file = file_of(folder, family)
        if not file.is_file():
            raise DataError(f"{file}: no such file; `make fonts` fetches it")
        if hashlib.sha256(file.read_bytes()).hexdigest() != entry["sha256"]:
            raise DataError(f"{file}: its SHA-256 is not the lock's")


def fetch(folder: Path) -> None:
    """Fetch the fonts that `folder` lacks.

    Raises:
        DataError: There is no npm, a package can't be had, or a font is another than the lock's.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not installed; it fetches the fonts")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in sorted(lock()) if not file_of(folder, name).is_file()]
    for place, family in enumerate(wanted, 1):
        print(f"{place}/{len(wanted)} {family}", flush=True)
        content = packed(npm, family, lock()[family]["version"])
        if hashlib.sha256(content).hexdigest() != lock()[family]["sha256"]:
            raise DataError(f"{family}: the SHA-256 of its font is not the lock's")
        file_of(folder, family).write_bytes(content)
    verify(folder)


def packed(npm: str, family: str, version: str) -> bytes:
    """Return the Latin font in a family's package.

    Raises:
        DataError: The package can't be had, or has no such file.
    """
    with tempfile.TemporaryDirectory() as place:
        name = f"@fontsource/{family}@{version}"
        words = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", place, name]
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
        archives = list(Path(place).glob("*.tgz"))
        if done.returncode or not archives:
            raise DataError(f"npm pack {name} failed: {done.stderr.strip()[-300:]}")
        member = f"package/files/{file_of(Path(), family).name}"
        with tarfile.open(archives[0]) as archive:
            try:
                file = archive.extractfile(member)
            except KeyError as error:
                raise DataError(f"{name} has no {member}") from error
            return file.read() if file else b""


@cache
def font(file: Path) -> ImageFont.FreeTypeFont:
    """Load a font."""
    return ImageFont.truetype(str(file), WORK)


@cache
def glyph(file: Path, sign: str) -> GrayImage:
    """Draw a sign of a font in white on black [h,w], cut to its ink."""
    image = Image.new("L", (4 * WORK, 4 * WORK))
    ImageDraw.Draw(image).text((WORK, WORK), sign, 255, font(file))
    pixels = np.asarray(image)
    return pixels[box_of(pixels > 24)]


def drawn(file: Path, sign: str, rng: Rng) -> GrayImage:
    """Draw a sign of a font as a hand might, white ink on black [h,w], cut to the ink."""
    pen = bool(rng.random() > OUTLINED)
    distance = stroke_distance(glyph(file, sign), rng, pen=pen)
    width = outliers.pen_width(rng) if pen else rng.uniform(-0.01, 0.03)
    ink = np.rint(outliers.on_canvas(distance, rng, width)).clip(0, 255).astype(np.uint8)
    return np.asarray(ink[box_of(ink > 24)])


def pool(folder: Path, *, count: int, seed: int, held_back: bool = False) -> strokes.Pool:
    """Draw digits of all families to learn from, or of those held back, in turn.

    Raises:
        DataError: A font is missing, or another than the lock's.
    """
    verify(folder)
    names = families(held_back=held_back)
    digits = np.empty((count, 28, 28), np.uint8)
    kinds = (np.arange(count) // 10 % len(names)).astype(np.uint8)
    labels = (np.arange(count) % 10).astype(np.uint8)
    for place, (kind, label) in enumerate(zip(kinds, labels, strict=True)):
        rng = np.random.default_rng((seed, place))
        ink = drawn(file_of(folder, names[kind]), str(label), rng)
        digits[place] = canvases.normalized(ink, rng)
    return strokes.Pool(digits, labels, kinds, np.array(names))


def check(folder: Path, model: Path) -> None:
    """Print how many of each family's ten digits a version reads, the fewest first."""
    from training import export  # noqa: PLC0415 -- TensorFlow takes seconds, and a fetch has none

    names = sorted(lock())
    plain: NDArray[np.uint8] = np.stack(
        [
            canvases.fitted(glyph(file_of(folder, name), str(digit)))
            for name in names
            for digit in range(10)
        ]
    )
    right = export.reader(model)(plain)[:, :10].argmax(axis=1).reshape(-1, 10) == np.arange(10)
    for name, found in sorted(zip(names, right, strict=True), key=lambda pair: pair[1].sum()):
        missed = "".join(str(digit) for digit in np.flatnonzero(~found))
        print(f"{name}: {found.sum()} of 10 read{f', not {missed}' if missed else ''}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.corpora.fonts", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("do", choices=["fetch", "check", "pool"])
    parser.add_argument("--fonts", type=Path, default=Path(".fonts"), help="folder of the fonts")
    parser.add_argument("--model", type=Path, help="check: a version's folder")
    parser.add_argument("--count", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--held-back", action="store_true", help="the families never trained on")
    parser.add_argument("--out", type=Path, default=Path("fonts.npz"))
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    try:
        if args.do == "fetch":
            fetch(args.fonts)
        elif args.do == "check":
            verify(args.fonts)
            check(args.fonts, args.model)
        else:
            made = pool(args.fonts, count=args.count, seed=args.seed, held_back=args.held_back)
            np.savez_compressed(args.out, **asdict(made))
            print(f"{args.out}: {len(made.digits)} digits of {len(made.kind_names)} families")
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Feedback, exported: what the service has kept, as a folder that training takes.

    python -m training.feedback /srv/digits/feedback --out FOLDER
    python -m training.feedback /srv/digits/feedback --out FOLDER --unlabelled

`FOLDER` gets the pictures of the labels 0 to 9 and `labels.csv`. With `--unlabelled` it gets the
sample of uncertain inputs, too, each with an empty label to be filled in. Pictures labelled as no
digit are counted and left. Numbers, if there are any, are a folder of the same form in it,
`numbers`. Look at what people sent before you train on it.
"""

import argparse
import csv
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from training.corpora.folder import LABELS_FILE

DIGITS = tuple(map(str, range(10)))
NO_DIGIT, UNLABELLED, ROWS = "none", "unlabelled", "rows"
"""The folders that the service keeps, as `app.serving.feedback.FOLDERS` has them."""
COLUMNS = ("file", "label", "kind")
NUMBERS = "numbers"

Row = tuple[Path, str, str]
"""Picture, label and kind."""


def rows(kept: Path, *, unlabelled: bool) -> Iterator[Row]:
    """Yield what is to be exported of single digits."""
    for label in DIGITS:
        for file in sorted((kept / label).glob("*.png")):
            yield file, label, "feedback"
    if unlabelled:
        for file in sorted((kept / UNLABELLED).glob("*.png")):
            yield file, "", "uncertain"


def numbers(kept: Path) -> Iterator[Row]:
    """Yield the numbers; their text is the end of their names."""
    for file in sorted((kept / ROWS).glob("*.png")):
        text = file.stem.rpartition("-")[2]
        yield file, "" if text == NO_DIGIT else text, "number"


def export(kept: Path, out: Path, *, unlabelled: bool = False) -> tuple[int, int]:
    """Copy the pictures and write `labels.csv`; return how many digits and numbers there are.

    Raises:
        OSError: `out` exists, or can't be written.
    """
    digits = _write(rows(kept, unlabelled=unlabelled), out)
    rows_of_digits = [*numbers(kept)]
    return digits, _write(rows_of_digits, out / NUMBERS) if rows_of_digits else 0


def _write(labelled: Iterable[Row], out: Path) -> int:
    (out / "pictures").mkdir(parents=True)
    count = 0
    with (out / LABELS_FILE).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for picture, label, kind in labelled:
            shutil.copyfile(picture, out / "pictures" / picture.name)
            table.writerow((f"pictures/{picture.name}", label, kind))
            count += 1
    return count


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.feedback", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("kept", type=Path, help="the service's DIGITS_FEEDBACK_DIR")
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--unlabelled", action="store_true", help="with the uncertain sample")
    options = parser.parse_args(argv)
    if not options.kept.is_dir():
        print(f"{options.kept}: no such folder", file=sys.stderr)
        return 2
    try:
        digits, whole = export(options.kept, options.out, unlabelled=options.unlabelled)
    except OSError as error:
        print(f"{options.out}: {error.strerror}", file=sys.stderr)
        return 2
    left = len(list((options.kept / NO_DIGIT).glob("*.png")))
    if whole:
        print(f"{whole} numbers are in {options.out / NUMBERS}.")
    print(f"{digits} pictures are in {options.out}; {left} that are no digit were left.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Folders of labelled images: your own digits, read as the service reads them.

Either `labels.csv` beside the images, with the columns `file` and `label` and, if wanted, `kind`
and `source`:

    file,label,kind
    meter/0001.jpg,7,photo

or a folder a label:

    0/scan-1.png    0/scan-2.png    1/…    9/…

Any format, size and polarity that the service takes: images go through `app.vision`. What can't be
used is left out and said: files that can't be read, labels that are no digit, copies, and copies
that have different labels.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import ImageError
from app.inference.classifier import Images
from app.settings import Settings
from app.vision.decode import decode, probe
from app.vision.normalize import Normalized, normalize
from training.corpora.data import DataError, Digits

LABELS_FILE = "labels.csv"
MAX_FILE_BYTES: int = Settings.model_fields["max_body_bytes"].default
MAX_PIXELS: int = Settings.model_fields["max_pixels"].default
LEAST_USABLE = 0.5
"""Share of the entries that must be usable: below it, the folder as a whole is not what it should
be, such as a file of labels that belongs to other images."""
FEW = 100
"""Below it, a comparison tells little: with 100, an accuracy of 95% is known to ±4 points."""
EXAMPLES = 3
"""Entries that are named of each problem."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An image file, as it is listed."""

    name: str
    label: str
    kind: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an entry was left out; `found` is its label, if that is why."""

    name: str
    reason: str
    found: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.found!r}" if self.found else self.name


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """The usable images of a folder.

    Attributes:
        names: Their paths in the folder.
        images: uint8 [n,28,28], normalized.
        labels: uint8 [n], in 0–9.
        blank: [n], True where no ink was found.
        kinds: [n], the column `kind`; empty where there is none.
        problems: The entries that were left out, and why.
    """

    names: list[str]
    images: Images
    labels: NDArray[np.uint8]
    blank: NDArray[np.bool_]
    kinds: list[str]
    problems: list[Problem]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def digits(self) -> Digits:
        """Those with ink: a blank teaches nothing."""
        return Digits(self.images[~self.blank], self.labels[~self.blank])

    def words(self) -> Iterator[str]:
        """Say in a line each what should be known before the images are used."""
        reasons = Counter(problem.reason for problem in self.problems)
        for reason, count in reasons.most_common():
            names = [str(problem) for problem in self.problems if problem.reason == reason]
            more = ", …" if count > EXAMPLES else ""
            yield f"left out, {count}: {reason} ({', '.join(names[:EXAMPLES])}{more})"
        if self.blank.any():
            first = self.names[int(self.blank.argmax())]
            yield f"no ink found in {int(self.blank.sum())} ({first}, …)"
        missing = [str(digit) for digit in range(10) if digit not in self.labels]
        if missing:
            yield f"no image of {', '.join(missing)}"
        if len(self) < FEW:
            yield f"{len(self)} images are few: a difference of a point or two is chance"


def read(folder: Path) -> LabelledImages:
    """Read the labelled images of a folder.

    Raises:
        DataError: There is no such folder, it has neither form, or little of it is usable.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    entries = list(listed(folder))
    problems: list[Problem] = []
    usable = list(_without_copies(folder, _labelled(entries, problems), problems))
    read = list(_normalized(usable, problems))
    if len(read) < max(1, LEAST_USABLE * len(entries)):
        left_out = _gather([], problems)
        raise DataError(
            f"{folder}: {len(read)} of {len(entries)} images are usable\n"
            + "\n".join(word for word in left_out.words() if word.startswith("left out"))
        )
    return _gather(read, problems)


Content = tuple[Entry, bytes]
Usable = tuple[Entry, Normalized]


def _gather(read: list[Usable], problems: list[Problem]) -> LabelledImages:
    return LabelledImages(
        names=[entry.name for entry, _ in read],
        images=np.array([image.digit for _, image in read], np.uint8).reshape(-1, 28, 28),
        labels=np.array([int(entry.label) for entry, _ in read], np.uint8),
        blank=np.array([image.box is None for _, image in read], bool),
        kinds=[entry.kind for entry, _ in read],
        problems=problems,
    )


def listed(folder: Path) -> Iterable[Entry]:
    """Return the entries of a folder, usable or not.

    Raises:
        DataError: It has neither form.
    """
    if (folder / LABELS_FILE).exists():
        return _rows(folder / LABELS_FILE)
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and _is_seen(path))
    if not any(is_label(path.name) for path in folders):
        raise DataError(
            f"{folder}: neither {LABELS_FILE}, with the columns file and label, nor folders 0 to 9"
        )
    return (
        Entry(file.relative_to(folder).as_posix(), path.name, "")
        for path in folders
        for file in sorted(path.rglob("*"))
        if file.is_file() and _is_seen(file)
    )


def _rows(file: Path) -> Iterator[Entry]:
    try:
        text = file.read_text(encoding="utf-8-sig")  # spreadsheets put a mark before it
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: not to be read as UTF-8 text: {error}") from error
    header = text.partition("\n")[0]
    rows = csv.DictReader(text.splitlines(), delimiter=";" if ";" in header else ",")
    found = rows.fieldnames or []
    if not {"file", "label"} <= set(found):
        raise DataError(f"{file}: its columns are {', '.join(found) or 'none'}, not file and label")
    for row in rows:
        label = (row["label"] or "").strip()
        yield Entry(row["file"] or "", label, row.get("kind") or "", row.get("source") or "")


def _is_seen(path: Path) -> bool:
    return not path.name.startswith(".")


def is_label(text: str) -> bool:
    """Tell whether `text` is one digit."""
    return text.isascii() and text.isdigit() and len(text) == 1


def _labelled(entries: Iterable[Entry], problems: list[Problem]) -> Iterator[Entry]:
    for entry in entries:
        if is_label(entry.label):
            yield entry
        else:
            reason = "the label is none of 0 to 9" if entry.label else "no label"
            problems.append(Problem(entry.name, reason, found=entry.label[:20]))


def _without_copies(
    folder: Path, entries: Iterable[Entry], problems: list[Problem]
) -> Iterator[Content]:
    """Yield each content once; those with several labels not at all."""
    by_content: dict[bytes, list[Entry]] = {}
    for entry in entries:
        if content := _content(folder, entry, problems):
            by_content.setdefault(hashlib.sha256(content).digest(), []).append(entry)
    for first, *copies in by_content.values():
        if any(copy.label != first.label for copy in copies):
            reason = "copies of an image with different labels"
            problems += [Problem(entry.name, reason) for entry in (first, *copies)]
            continue
        problems += [Problem(copy.name, "a copy of another") for copy in copies]
        yield first, (folder / first.name).read_bytes()


def _content(folder: Path, entry: Entry, problems: list[Problem]) -> bytes | None:
    file = folder / entry.name
    try:
        size = file.stat().st_size
        if not 0 < size <= MAX_FILE_BYTES:
            reason = f"a file has 1 to {MAX_FILE_BYTES:,} bytes"
        else:
            return file.read_bytes()
    except OSError as error:
        reason = str(error.strerror)
    problems.append(Problem(entry.name, reason))
    return None


def _normalized(contents: Iterable[Content], problems: list[Problem]) -> Iterator[Usable]:
    for entry, content in contents:
        try:
            header = probe(content)
            if header.pixels <= MAX_PIXELS:
                yield entry, normalize(decode(content, header).gray)
                continue
            reason = f"more than {MAX_PIXELS:,} pixels"
        except ImageError as error:
            reason = error.title[0].lower() + error.title[1:]
        problems.append(Problem(entry.name, reason))

"""Feedback: pictures with the labels that people gave them, kept as a folder a label.

    4/5f0c….png    7/….png    none/….png    rows/9a41…-1977.png

`training.corpora.folder` reads it as it is, but for the rows: numbers with all of their text, for
no digit's label corrects what was cut into too many or too few. A picture is kept as the model saw
it, with its label, and nothing else: not from whom, nor with which request.

An answer's `id` is that picture, compressed. No worker has to remember what it has answered, and
feedback may come to another worker, after a restart, and however late.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import structlog

from ..vision.decode import encode_png
from ..vision.digit import SIDE
from ..vision.grayscale import GrayImage
from ..vision.strip import MAX_STRIP, STRIP_HEIGHT

log = structlog.get_logger()

NO_DIGIT = "none"
UNLABELLED = "unlabelled"
"""Folder of the sample of uncertain pictures (`sample.py`)."""
ROWS = "rows"
"""Folder of the numbers; their text is the end of their names."""
FOLDERS = (*map(str, range(10)), NO_DIGIT, UNLABELLED, ROWS)
PIXELS = SIDE * SIDE
MAX_ID_LENGTH, MAX_ROW_ID_LENGTH = 1200, 39_000
"""Characters of an id of a digit, and of a row: more than noise takes, which does not compress."""
BLOCK_BYTES = 4096
"""What a file takes of a volume, at least."""
PRUNE_EVERY = 64
"""Files written between two looks at what the folder takes."""
PRUNED_SHARE = 0.75
"""Share of the limit that is left by a look: several workers write until the next one."""
PRUNE_SECONDS = 600.0
"""Seconds between looks where nothing is written."""


def id_of(picture: GrayImage) -> str:
    """Return the id of a normalized digit [28,28], 30 µs, some 260 characters, or row [28,w]."""
    return urlsafe_b64encode(zlib.compress(picture.tobytes(), 1)).rstrip(b"=").decode()


def picture_of(id_: str) -> GrayImage:
    """Return the picture [28,28] of a digit's id.

    Raises:
        ValueError: It is not an id that `id_of` returns.
    """
    pixels = _unpacked(id_, PIXELS, MAX_ID_LENGTH)
    if len(pixels) != PIXELS:
        raise ValueError("of another length")
    return np.frombuffer(pixels, np.uint8).reshape(SIDE, SIDE)


def row_of(id_: str) -> GrayImage:
    """Return the strip [28,w] of a number's id.

    Raises:
        ValueError: It is not an id that `id_of` returns.
    """
    pixels = _unpacked(id_, STRIP_HEIGHT * MAX_STRIP, MAX_ROW_ID_LENGTH)
    if not pixels or len(pixels) % STRIP_HEIGHT:
        raise ValueError("of another length")
    return np.frombuffer(pixels, np.uint8).reshape(STRIP_HEIGHT, -1)


def _unpacked(id_: str, max_pixels: int, max_length: int) -> bytes:
    if len(id_) > max_length:
        raise ValueError("too long")
    unpacker = zlib.decompressobj()
    try:
        pixels = unpacker.decompress(urlsafe_b64decode(id_ + "=" * (-len(id_) % 4)), max_pixels + 1)
    except zlib.error as error:
        raise ValueError("damaged") from error
    if len(pixels) > max_pixels or not unpacker.eof:
        raise ValueError("of another length")
    return pixels


def _stem_of(picture: GrayImage) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()[:32]


def _name_of(picture: GrayImage) -> str:
    return f"{_stem_of(picture)}.png"


class Kept(NamedTuple):
    """A file of the folder: in order of age."""

    changed: float
    bytes: int
    file: Path


class FeedbackFolder:
    """The folder in which labelled pictures are kept, within bytes and days; safe across threads.

    Args:
        folder: Where they are kept.
        max_bytes: What the files may take of the volume; beyond it the oldest are removed.
        max_seconds: After which a file is removed.
    """

    def __init__(self, folder: Path, *, max_bytes: int, max_seconds: float) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._lock = Lock()
        self._written = 0

    def keep(self, picture: GrayImage, label: int | None) -> None:
        """Write a picture [28,28] under its label; None is no digit.

        A picture that is there already is moved: given a hundred times, it is one file.

        Raises:
            OSError: The folder can't be written.
        """
        name = _name_of(picture)
        chosen = NO_DIGIT if label is None else str(label)
        with self._lock:
            self._write(picture, chosen, name)
            for other in FOLDERS:  # afterwards: where there is no room, what is there stays
                if other != chosen:
                    (self._folder / other / name).unlink(missing_ok=True)

    def keep_row(self, row: GrayImage, text: str | None) -> None:
        """Write a row [28,w] with the number that it shows; None is no number.

        Raises:
            OSError: The folder can't be written.
        """
        name = f"{_stem_of(row)}-{NO_DIGIT if text is None else text}.png"
        with self._lock:
            self._write(row, ROWS, name)
            for other in (self._folder / ROWS).glob(f"{_stem_of(row)}-*.png"):
                if other.name != name:
                    other.unlink(missing_ok=True)

    def keep_unlabelled(self, picture: GrayImage) -> None:
        """Write a picture [28,28] without a label, unless it is there already.

        Raises:
            OSError: The folder can't be written.
        """
        name = _name_of(picture)
        with self._lock:
            if not any((self._folder / folder / name).exists() for folder in FOLDERS):
                self._write(picture, UNLABELLED, name)

    def _write(self, picture: GrayImage, chosen: str, name: str) -> None:
        (self._folder / chosen).mkdir(exist_ok=True)
        draft = self._folder / chosen / f".{name}"
        try:
            draft.write_bytes(encode_png(picture))
            draft.replace(self._folder / chosen / name)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        self._written += 1
        if self._written % PRUNE_EVERY == 0:
            self._prune()

    async def keep_pruned(self) -> None:
        """Remove what is too old, or too much, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.prune)
            except OSError as error:
                log.warning("feedback can't be pruned", reason=error.strerror)
            await asyncio.sleep(PRUNE_SECONDS)

    def prune(self) -> None:
        """Remove what is too old, and the oldest of what is too much."""
        with self._lock:
            self._prune()

    def _prune(self) -> None:
        oldest = time.time() - self._max_seconds
        room = int(self._max_bytes * PRUNED_SHARE)
        for kept in sorted(self._kept(), reverse=True):
            room -= kept.bytes
            if kept.changed < oldest or room < 0:
                kept.file.unlink(missing_ok=True)

    def _kept(self) -> Iterator[Kept]:
        for name in FOLDERS:
            for file in (self._folder / name).glob("*.png"):
                try:
                    stat = file.stat()
                except FileNotFoundError:  # another worker has removed it
                    continue
                yield Kept(stat.st_mtime, -(-stat.st_size // BLOCK_BYTES) * BLOCK_BYTES, file)

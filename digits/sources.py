"""The command's arguments -> images: files, folders, lists of files, standard input."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn, TextIO

log = logging.getLogger(__name__)

STDIN = "-"
LIST_MARK = "@"
BYTE_ORDER_MARK = "\ufeff"
"""Begins a list that a Windows editor has written."""
SUFFIXES = frozenset(
    (
        ".apng",
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".heic",
        ".heif",
        ".hif",
        ".jfif",
        ".jpeg",
        ".jpg",
        ".mpo",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    )
)
"""Names that are taken from folders, as the service reads these formats. A file that is named
itself is sent whatever its name."""

Source = Path | BinaryIO
"""A file to read when its turn comes, or standard input."""


class UsageError(Exception):
    """An argument can't be used; the message says why."""


def name_of(source: Source) -> str:
    """Return the name of `source` in results."""
    return str(source) if isinstance(source, Path) else STDIN


def expand(arguments: Iterable[str], lists: Iterable[str] = ()) -> Iterator[Source]:
    """Yield the images that are meant, in order; one folder's names are held at a time.

    Args:
        arguments: Names of files and folders, `-` for standard input, `@name` for a list.
        lists: Names of files with the name of a file or folder in each line, or `-`.

    Raises:
        UsageError: A list or folder can't be read.
    """
    for argument in arguments:
        if argument == STDIN:
            yield sys.stdin.buffer
        elif argument.startswith(LIST_MARK):
            yield from _listed(argument.removeprefix(LIST_MARK))
        else:
            yield from _files(Path(argument))
    for name in lists:
        yield from _listed(name)


def reads_stdin(arguments: Iterable[str], lists: Iterable[str]) -> bool:
    """Return whether standard input is read, which can be done but once."""
    return bool({STDIN, LIST_MARK + STDIN} & {*arguments} or STDIN in lists)


def _listed(name: str) -> Iterator[Source]:
    try:
        if name == STDIN:
            yield from _lines(sys.stdin)
        else:
            with Path(name).open(encoding="utf-8", errors="surrogateescape") as lines:
                yield from _lines(lines)
    except OSError as error:
        raise UsageError(f"The list {name} can't be read: {error.strerror}.") from error


def _lines(lines: TextIO) -> Iterator[Source]:
    for number, line in enumerate(lines):
        name = line.rstrip("\r\n")
        if number == 0:
            name = name.removeprefix(BYTE_ORDER_MARK)
        if name:
            yield from _files(Path(name))


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    is_empty = True
    for folder, folders, files in os.walk(path, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            file = Path(folder, name)
            if file.suffix.lower() in SUFFIXES and not name.startswith("."):
                is_empty = False
                yield file
    if is_empty:
        log.warning("%s has no image.", path)


def _refuse(error: OSError) -> NoReturn:
    raise UsageError(f"The folder {error.filename} can't be read: {error.strerror}.") from error

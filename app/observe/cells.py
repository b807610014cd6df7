"""Numbers that each process writes for itself and every process of the service can read.

A cell is a float64 in a mapped file: adding to it takes 0.1 µs, and what was added stays when the
process is killed. prometheus_client's multiprocess mode takes 1.4 µs, a dozen times a request, and
adding up in Python to write it now and then would lose the last moments of a killed process.
"""

from __future__ import annotations

import json
import mmap
import os
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MAX_CELLS = 2**15
"""Cells of a process, 256 KiB: some ten times what it uses."""
CELL_BYTES = 8
SPARE_CELLS = 128
"""Cells at the end that take what has no cells of its own once all are in use."""


class Key(NamedTuple):
    """Names the cells of a series: `width` of them, one after the other."""

    family: str
    width: int
    labels: tuple[str, ...]


Series = tuple[tuple[str, ...], Sequence[float]]
"""Label values, and the numbers in the series' cells."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cells of one process at one moment.

    Attributes:
        is_alive: Whether the process still runs.
        series: All series, by their family's name and width.
    """

    is_alive: bool
    series: Mapping[tuple[str, int], Sequence[Series]]


class Cells:
    """The cells of this process, to which one thread at a time may write.

    The processes that share a folder are numbered. A new one takes the lowest number that no living
    process has and goes on from what is in its files, so that no counter falls when a worker is
    replaced. A file lock says which process lives: no process can leave it behind.

    Args:
        folder: Where the processes of a service meet; None for a process alone.

    Raises:
        OSError: the folder can't be written to, or is full.

    Attributes:
        number: This process's among those in the folder.
        values: All cells, float64.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.number = 0
        self._folder = folder
        self._starts: dict[Key, int] = {}
        self._used = 0
        self._key_file: int | None = None
        size = MAX_CELLS * CELL_BYTES
        if folder is None:
            self._map = mmap.mmap(-1, size)
        else:
            cell_file = self._claim_number(folder)
            if os.fstat(cell_file).st_size < size:
                # No hole: a mapped page for which a disk has no room would kill the process.
                os.pwrite(cell_file, bytes(size), 0)
            self._map = mmap.mmap(cell_file, size)
            self._key_file = _open_key_file(folder, self.number)
            for key in _read_keys(folder, self.number):
                self._place(key)
        self.values = memoryview(self._map).cast("d")

    def _claim_number(self, folder: Path) -> int:
        """Open the file of this process's cells, and never close it: that would undo the lock."""
        while True:
            file = os.open(_cell_path(folder, self.number), os.O_RDWR | os.O_CREAT, 0o600)
            if _lock(file):
                return file
            os.close(file)
            self.number += 1

    def start_of(self, key: Key) -> int:
        """Return the index of the first cell of a series; the cells of a new one are 0."""
        start = self._starts.get(key)
        if start is not None:
            return start
        if self._used + key.width > MAX_CELLS - SPARE_CELLS:
            return MAX_CELLS - SPARE_CELLS
        if self._key_file is not None:
            os.write(self._key_file, json.dumps(key).encode() + b"\n")
        return self._place(key)

    def _place(self, key: Key) -> int:
        start = self._starts[key] = self._used
        self._used += key.width
        return start

    def own_keys(self) -> list[Key]:
        """Return the names of this process's series."""
        return [*self._starts]

    def snapshots(self) -> Iterator[Snapshot]:
        """Yield the cells of every process in the folder, dead ones too; this process first."""
        yield Snapshot(True, _series(self._starts, self.values))
        if self._folder is not None:
            for path in sorted(self._folder.glob("*.cells")):
                if int(path.stem) != self.number:
                    yield _read(self._folder, int(path.stem))


def _cell_path(folder: Path, number: int) -> Path:
    return folder / f"{number}.cells"


def _key_path(folder: Path, number: int) -> Path:
    return folder / f"{number}.keys"


def _lock(file: int) -> bool:
    """Lock `file` until it is closed; False where it is locked by a process that lives."""
    import fcntl  # noqa: PLC0415 -- Windows lacks it, and has no workers

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_key_file(folder: Path, number: int) -> int:
    """A file to append keys to, cut before a line that a killed process did not end."""
    path = _key_path(folder, number)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    os.ftruncate(file, path.read_bytes().rfind(b"\n") + 1)
    return file


def _read_keys(folder: Path, number: int) -> Iterator[Key]:
    """The keys in the order of their cells, but for a last line that is not whole."""
    path = _key_path(folder, number)
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    for line in lines[:-1]:
        family, width, labels = json.loads(line)
        yield Key(family, width, tuple(labels))


def _read(folder: Path, number: int) -> Snapshot:
    starts: dict[Key, int] = {}
    used = 0
    for key in _read_keys(folder, number):
        starts[key] = used
        used += key.width
    with _cell_path(folder, number).open("rb") as file:
        values = array("d", file.read(used * CELL_BYTES))
        return Snapshot(not _lock(file.fileno()), _series(starts, values))


def _series(
    starts: Mapping[Key, int], values: Sequence[float]
) -> Mapping[tuple[str, int], Sequence[Series]]:
    series: defaultdict[tuple[str, int], list[Series]] = defaultdict(list)
    for key, start in [*starts.items()]:
        if start + key.width <= len(values):
            numbers = [*values[start : start + key.width]]
            series[key.family, key.width].append((key.labels, numbers))
    return series

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.observe.cells import MAX_CELLS, SPARE_CELLS, Cells, Key
from tests.conftest import ROOT

COUNT = Key("count", 1, ())

WRITER = """
import sys
from pathlib import Path
from app.observe.cells import Cells, Key
cells = Cells(Path(sys.argv[1]))
cells.values[cells.start_of(Key("count", 1, ()))] += 3
print(cells.number, flush=True)
sys.stdin.read()
"""


def writer(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A process that has added 3 and waits, and its number."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, folder],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    return process, int(process.stdout.readline())


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def counts(cells: Cells) -> list[tuple[bool, float]]:
    """Of each process: whether it lives, and what it has counted."""
    return [
        (snapshot.is_alive, numbers[0])
        for snapshot in cells.snapshots()
        for _, numbers in snapshot.series.get(("count", 1), ())
    ]


@given(st.lists(st.tuples(st.integers(1, 20), st.text(max_size=9)), max_size=30))
def test_series_have_cells_of_their_own(wanted: list[tuple[int, str]]) -> None:
    cells = Cells()
    keys = [Key("some", width, (label,)) for width, label in wanted]
    taken = {key: range(cells.start_of(key), cells.start_of(key) + key.width) for key in keys}
    assert len({cell for cells in taken.values() for cell in cells}) == sum(
        map(len, taken.values())
    )
    assert all(cells.values[cell] == 0 for span in taken.values() for cell in span)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_counted_stays(tmp_path: Path, how: signal.Signals) -> None:
    cells = Cells(tmp_path)
    process, number = writer(tmp_path)
    assert number == 1
    assert counts(cells) == [(True, 3.0)]
    os.kill(process.pid, how)
    process.communicate()
    assert counts(cells) == [(False, 3.0)]


def test_a_new_process_goes_on_from_a_dead_ones_numbers(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    for expected in (3.0, 6.0):
        process, number = writer(tmp_path)
        assert number == 1
        assert counts(cells) == [(True, expected)]
        end(process)


def test_living_processes_have_numbers_of_their_own(tmp_path: Path) -> None:
    writers = [writer(tmp_path) for _ in range(2)]
    try:
        assert [number for _, number in writers] == [0, 1]
        assert counts(Cells(tmp_path)) == [(True, 3.0), (True, 3.0)]
    finally:
        for process, _ in writers:
            end(process)


def test_a_key_that_was_not_written_to_its_end_is_dropped(tmp_path: Path) -> None:
    process, _ = writer(tmp_path)
    end(process)
    with (tmp_path / "0.keys").open("ab") as keys:
        keys.write(b'["half", 1, ["a')
    cells = Cells(tmp_path)
    assert cells.number == 0
    assert cells.own_keys() == [COUNT]
    cells.start_of(Key("whole", 1, ()))
    assert b"half" not in (tmp_path / "0.keys").read_bytes()


def test_a_series_without_room_takes_spare_cells_and_no_others() -> None:
    cells = Cells()
    wide = MAX_CELLS - SPARE_CELLS
    assert cells.start_of(Key("wide", wide, ())) == 0
    assert cells.start_of(COUNT) == wide
    assert cells.own_keys() == [Key("wide", wide, ())]


def test_the_file_has_its_room_from_the_start(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    file = tmp_path / f"{cells.number}.cells"
    assert file.stat().st_size == MAX_CELLS * 8
    assert file.stat().st_blocks * 512 >= MAX_CELLS * 8


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-folder"):
        Cells(tmp_path / "no-such-folder")

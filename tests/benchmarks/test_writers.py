"""The writers that no corpus has: a digit is the same each time, and a folder of them is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.writers import SIDE, WRITERS, Writer, write
from training.corpora import folder


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.title)
def test_a_writers_digits_are_read_as_a_folder(writer: Writer, tmp_path: Path) -> None:
    write(writer, tmp_path / "own", range(20))
    found = folder.read(tmp_path / "own")
    assert np.array_equal(np.sort(found.digits.labels), np.repeat(np.arange(10), 2))
    assert found.digits.images.max(axis=(1, 2)).min() > 100


def test_a_digit_is_the_same_each_time_and_no_other() -> None:
    first, second = WRITERS
    digit = first.digit(1, 1)
    assert digit.shape == (SIDE, SIDE)
    assert np.array_equal(digit, first.digit(1, 1))
    assert not np.array_equal(digit, first.digit(1, 11))
    assert not np.array_equal(digit, second.digit(1, 1))

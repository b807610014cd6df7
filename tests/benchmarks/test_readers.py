from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.readers import worker
from benchmarks.readers.__main__ import READERS, Reader, read_all, share, table, write_rows
from tests.conftest import png
from tests.serving.test_reader import row
from training.corpora.data import Digits


def test_every_reader_has_a_worker() -> None:
    assert {reader.name for reader in READERS} == worker.READERS.keys()


def test_rows_are_of_four_digits_dark_on_light(tmp_path: Path) -> None:
    images = np.zeros((10, 28, 28), np.uint8)
    images[:, 8:20, 10:18] = 255
    texts = write_rows(
        Digits(images, np.arange(10, dtype=np.uint8)), "side by side", tmp_path, count=3
    )
    assert [len(text) for text in texts] == [4, 4, 4]
    picture = cv2.imread(str(tmp_path / "00002.png"), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    assert picture[0, 0] == 255
    assert picture.shape == (84, 336)


@pytest.mark.parametrize(
    ("texts", "expected"), [(["12", "3"], "100.0 (34.2–100.0)"), (["12", "5"], "50.0 (9.5–90.5)")]
)
def test_a_share_has_its_interval(texts: list[str], expected: str) -> None:
    assert share(texts, ["12", "3"]) == expected


def test_our_reader_reads_in_a_process_of_its_own(tmp_path: Path) -> None:
    for name, text in (("0", "1977"), ("1", "20"), ("2", "3")):
        (tmp_path / f"{name}.png").write_bytes(png(row(text)))
    texts, seconds = read_all(READERS[0], tmp_path, 2)
    assert texts == ["1977", "20"]
    assert len(seconds) == 2


def test_a_reader_is_there_where_its_environment_or_program_is() -> None:
    assert Reader("digits", "Ours").is_installed
    assert Reader("python", "An interpreter", program=sys.executable).is_installed
    assert not Reader("none", "None", program="no-such-program").is_installed
    assert not Reader("none", "None", ("no-such-package==1",)).is_installed


def test_the_table_has_a_line_for_each_reader() -> None:
    images = np.zeros((10, 28, 28), np.uint8)
    images[:, 8:20, 10:18] = 255
    digits = Digits(images, np.arange(10, dtype=np.uint8))
    head, rule, *lines = table([], {"MNIST": digits, "USPS": digits}, count=1)
    assert head.count("|") == rule.count("|")
    assert not lines

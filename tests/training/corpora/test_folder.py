from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.vision.decode import decode
from app.vision.normalize import normalize
from tests.conftest import png
from training.corpora import folder
from training.corpora.data import DataError
from training.export import golden_images


def drawn(label: int, *, side: int = 140) -> bytes:
    """A digit as somebody would send it: dark, on a large white page."""
    large = cv2.resize(golden_images()[label], (side, side), interpolation=cv2.INTER_CUBIC)
    return png(255 - np.pad(np.asarray(large, np.uint8), 30))


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    """A folder a label, with one image each."""
    for label in range(10):
        (tmp_path / str(label)).mkdir()
        (tmp_path / str(label) / "a.png").write_bytes(drawn(label))
    return tmp_path


def write_labels(place: Path, *rows: str, header: str = "file,label") -> None:
    (place / "labels.csv").write_text("\n".join([header, *rows]), encoding="utf-8")


def test_a_folder_a_label_is_read_as_the_service_reads_it(ten: Path) -> None:
    read = folder.read(ten)
    assert read.names == [f"{label}/a.png" for label in range(10)]
    assert read.labels.tolist() == list(range(10))
    assert not read.blank.any()
    assert read.problems == []
    for image, name in zip(read.images, read.names, strict=True):
        assert np.array_equal(image, normalize(decode((ten / name).read_bytes()).gray).digit)


def test_a_file_of_labels_goes_before_the_names_of_folders(ten: Path) -> None:
    write_labels(ten, "7/a.png,1,photo", "3/a.png,3,", header="file,label,kind")
    read = folder.read(ten)
    assert read.names == ["7/a.png", "3/a.png"]
    assert read.labels.tolist() == [1, 3]
    assert read.kinds == ["photo", ""]


@pytest.mark.parametrize("header", ["\ufefffile,label", "label,file", "file;label", "file,label,x"])
def test_files_of_labels_as_spreadsheets_write_them(ten: Path, header: str) -> None:
    cell = {"file": "7/a.png", "label": "7", "x": ""}
    separator = ";" if ";" in header else ","
    row = separator.join(cell[name] for name in header.strip("\ufeff").split(separator))
    write_labels(ten, row, header=header)
    assert folder.read(ten).names == ["7/a.png"]


def test_what_is_left_out_is_said(ten: Path) -> None:
    (ten / "1" / "copy.png").write_bytes(drawn(1))
    (ten / "2" / "text.png").write_text("no image")
    (ten / "2" / "torn.png").write_bytes(drawn(2, side=150)[:200])
    (ten / "2" / "empty.png").touch()
    (ten / "5" / "contrary.png").write_bytes(drawn(6))
    (ten / "seven").mkdir()
    for name in "abcd":
        (ten / "seven" / f"{name}.png").write_bytes(drawn(7, side=150 + ord(name)))
    (ten / "8" / ".DS_Store").touch()
    (ten / "9" / "blank.png").write_bytes(png(np.full((50, 50), 255, np.uint8)))
    read = folder.read(ten)
    assert len(read) == 10
    assert read.blank.sum() == 1
    assert len(read.digits) == 9
    assert list(read.words()) == [
        "left out, 4: the label is none of 0 to 9 (seven/a.png: 'seven', seven/b.png: 'seven', "
        "seven/c.png: 'seven', …)",
        "left out, 2: copies of an image with different labels (5/contrary.png, 6/a.png)",
        "left out, 1: a file has 1 to 33,554,432 bytes (2/empty.png)",
        "left out, 1: a copy of another (1/copy.png)",
        "left out, 1: not an image that Digits reads (2/text.png)",
        "left out, 1: the image is damaged (2/torn.png)",
        "no ink found in 1 (9/blank.png, …)",
        "no image of 6",
        "10 images are few: a difference of a point or two is chance",
    ]


def test_rows_without_a_file_or_a_digit_are_left_out(ten: Path) -> None:
    kept = [f"{label}/a.png,{label}" for label in range(10)]
    write_labels(ten, *kept, "gone.png,1", "4/a.png,1977", "4/a.png,", "..,4", "4/a.png")
    read = folder.read(ten)
    assert len(read) == 10
    assert [(problem.name, problem.reason) for problem in read.problems] == [
        ("gone.png", "No such file or directory"),
        ("4/a.png", "the label is none of 0 to 9"),
        ("4/a.png", "no label"),
        ("..", "Is a directory"),
        ("4/a.png", "no label"),
    ]


@pytest.mark.parametrize("label", ["²", "٣", "-1", "10", "0x1", "³"])
def test_other_numerals_are_no_labels(ten: Path, label: str) -> None:
    write_labels(ten, "1/a.png,1", f"2/a.png,{label}")
    assert folder.read(ten).labels.tolist() == [1]


def test_an_image_of_too_many_pixels_is_left_out_before_it_is_decoded(ten: Path) -> None:
    huge = np.zeros((8_001, 8_001), np.uint8)
    (ten / "1" / "huge.png").write_bytes(png(huge))
    (problem,) = folder.read(ten).problems
    assert problem == folder.Problem("1/huge.png", "more than 64,000,000 pixels")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("name,digit", "its columns are name, digit, not file and label"),
        ("", "its columns are none"),
    ],
)
def test_a_file_of_labels_without_its_columns(ten: Path, header: str, says: str) -> None:
    write_labels(ten, "1/a.png,1", header=header)
    with pytest.raises(DataError, match=says):
        folder.read(ten)


def test_a_file_of_labels_that_is_no_text(ten: Path) -> None:
    (ten / "labels.csv").write_bytes(drawn(1))
    with pytest.raises(DataError, match="not to be read as UTF-8 text"):
        folder.read(ten)


def test_folders_that_can_not_be_used(ten: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        folder.read(ten / "gone")
    with pytest.raises(DataError, match=r"neither labels\.csv, .* nor folders 0 to 9"):
        folder.read(ten / "0")
    for label in range(6):
        shutil.copy(ten / str(label) / "a.png", ten / "9" / f"{label}.png")
    with pytest.raises(DataError, match="4 of 16 images are usable\nleft out, 12: copies of"):
        folder.read(ten)


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    with pytest.raises(DataError, match="0 of 0 images are usable"):
        folder.read(tmp_path)

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from app.vision.decode import AVIF, FORMATS, HEIC
from digits.sources import SUFFIXES, UsageError, expand, name_of, reads_stdin


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images, and what lies beside them, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.tiff", ".git/d.png"):
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def names(*arguments: str, lists: tuple[str, ...] = ()) -> list[str]:
    return [name_of(source) for source in expand(arguments, lists)]


def test_suffixes_are_those_of_the_formats_that_are_read() -> None:
    assert {suffix for each in {*FORMATS, AVIF, HEIC} for suffix in each.suffixes} == SUFFIXES


def test_files_are_taken_as_they_are_named(folder: Path) -> None:
    assert names("notes.txt", "missing.png", "b.png") == ["notes.txt", "missing.png", "b.png"]


def test_a_folder_has_its_images_in_order(folder: Path) -> None:
    assert names(".") == ["a.JPG", "b.png", "sub/c.tiff"]
    assert names("sub", "b.png") == ["sub/c.tiff", "b.png"]


def test_a_folder_without_an_image_is_named(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty = tmp_path / "none here"
    empty.mkdir()
    assert [*expand([str(empty)])] == []
    assert caplog.messages == [f"{empty} has no image."]


def test_a_list_has_files_and_folders(folder: Path) -> None:
    Path("list.txt").write_text("b.png\r\n\nsub\nwith space.png")
    expected = ["b.png", "sub/c.tiff", "with space.png"]
    assert names("@list.txt") == expected
    assert names(lists=("list.txt",)) == expected
    Path("list.txt").write_text("\ufeffb.png\n", "utf-8")
    assert names("@list.txt") == ["b.png"]


def test_standard_input_is_an_image_or_a_list(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a.JPG\nb.png\n")))
    assert names("-") == ["-"]
    assert names("@-") == ["a.JPG", "b.png"]
    assert reads_stdin(["-"], [])
    assert reads_stdin(["@-"], [])
    assert reads_stdin([], ["-"])
    assert not reads_stdin(["a", "@b"], ["c"])


def test_names_need_not_be_text(folder: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    Path(name).touch()
    Path("list.txt").write_bytes(b"\xff.png\n")
    assert name in names(".")
    assert names("@list.txt") == [name]


def test_a_list_that_can_not_be_read_is_wrong_usage(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"list none can't be read: No such file"):
        names("@none")

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.errors import ModelError
from app.inference import pointer
from app.inference.pointer import Pointer
from tests.conftest import ROOT


def test_what_is_written_is_read(tmp_path: Path) -> None:
    first = Pointer(version=4)
    second = Pointer(
        version=6, previous=4, promoted=datetime.now(UTC), why="It is better.", forced=True
    )
    for written in (first, second):
        pointer.write(tmp_path, written)
        assert pointer.read(tmp_path) == written
        assert pointer.read(tmp_path, pointer.LAST_FILE) == written
    assert {path.name for path in tmp_path.iterdir()} == {"live.json", "live.last.json"}
    assert (tmp_path / "live.json").stat().st_mode & 0o777 == 0o644


def test_a_folder_without_a_pointer(tmp_path: Path) -> None:
    assert pointer.read(tmp_path) is None


def test_a_pointer_of_a_later_release_is_read(tmp_path: Path) -> None:
    (tmp_path / "live.json").write_text('{"version": 4, "more": "of it"}')
    assert pointer.read(tmp_path) == Pointer(version=4)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "damaged"),
        ('{"version": 4', "damaged"),
        ("4", "damaged"),
        ("{}", "version: Field required"),
        ('{"version": 0}', "version: Input should be greater than 0"),
        ('{"version": "../../etc"}', "version: Input should be a valid integer"),
    ],
)
def test_a_damaged_pointer_says_where(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "live.json").write_text(content)
    with pytest.raises(ModelError, match=says):
        pointer.read(tmp_path)


def test_a_pointer_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "live.json").mkdir()
    with pytest.raises(ModelError, match="can't be read"):
        pointer.read(tmp_path)


def test_a_write_that_fails_leaves_the_old_pointer(tmp_path: Path) -> None:
    (tmp_path / "live.json").mkdir()  # which no file can replace
    with pytest.raises(OSError, match=r"live\.json"):
        pointer.write(tmp_path, Pointer(version=4))
    assert [path.name for path in tmp_path.iterdir()] == ["live.json"]


def test_the_pointer_that_ships_names_a_version_that_ships() -> None:
    models = ROOT / "models" / "digits"
    shipped = pointer.read(models)
    assert shipped is not None
    assert pointer.read(models, pointer.LAST_FILE) == shipped
    assert (models / str(shipped.version) / "manifest.json").exists()
    assert (models / str(shipped.previous) / "manifest.json").exists()

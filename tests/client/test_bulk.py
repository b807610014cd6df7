"""`digits bulk`: a folder or a Parquet file into Parquet, again where it was left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from digits import LocalReader, bulk
from tests.conftest import EXAMPLES

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

PICTURES = sorted([*EXAMPLES.glob("*.jpg"), *EXAMPLES.glob("*.png")])


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "CHUNK_ROWS", 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The examples, and a file that is no image."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for picture in PICTURES:
        shutil.copy(picture, folder)
    (folder / "zzz.png").write_bytes(b"no image")
    return folder


def answers(output: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(output).to_pylist()
    return rows


def bulk_read(source: Path, output: Path, *options: str) -> int:
    return bulk.main([str(source), str(output), "--processes", "1", *options])


def test_a_folders_answers_are_the_readers(folder: Path, tmp_path: Path) -> None:
    assert bulk_read(folder, tmp_path / "out") == 0
    rows = answers(tmp_path / "out")
    assert [row["image"] for row in rows] == [path.name for path in sorted(folder.iterdir())]
    with LocalReader() as reader:
        for picture, row in zip(PICTURES, rows, strict=False):
            expected = reader.predict(picture)
            assert row["label"] == expected.label
            assert row["rejected"] == expected.rejected
            assert row["confidence"] == pytest.approx(expected.confidence, abs=1e-5)
            assert row["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
            assert row["error"] is None
    assert rows[-1]["label"] is rows[-1]["probabilities"] is rows[-1]["confidence"] is None
    assert "text, and no image" in rows[-1]["error"]


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_parquet_file_is_read_by_row(tmp_path: Path, is_nested: bool) -> None:
    contents: list[Any] = [path.read_bytes() for path in PICTURES] + [None]
    if is_nested:
        contents = [{"bytes": each, "path": None} for each in contents]
    pq.write_table(pa.table({"scan": contents}), tmp_path / "in.parquet")
    assert bulk_read(tmp_path / "in.parquet", tmp_path / "out", "--column", "scan") == 0
    rows = answers(tmp_path / "out")
    assert [row["image"] for row in rows] == [*range(len(contents))]
    assert [row["error"] is None for row in rows] == [True] * len(PICTURES) + [False]


def test_a_job_goes_on_where_it_was_left(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert bulk_read(folder, output) == 0
    first, second, *_ = sorted(output.glob("*.parquet"))
    whole = answers(output)
    kept = first.stat().st_mtime_ns
    second.unlink()
    capsys.readouterr()
    assert bulk_read(folder, output) == 0
    assert capsys.readouterr().out.startswith("2 images")
    assert first.stat().st_mtime_ns == kept
    assert answers(output) == whole


def test_the_shares_of_several_machines_are_the_whole(folder: Path, tmp_path: Path) -> None:
    assert bulk_read(folder, tmp_path / "out", "--part", "1/2") == 0
    some = len(answers(tmp_path / "out"))
    assert bulk_read(folder, tmp_path / "out", "--part", "2/2") == 0
    assert 0 < some < len(answers(tmp_path / "out")) == len(PICTURES) + 1


def test_answers_of_different_inputs_are_not_mixed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulk_read(folder, tmp_path / "out", "--part", "1/9") == 0
    (folder / "zzz.png").write_bytes(b"another")
    assert bulk_read(folder, tmp_path / "out") == 2
    assert "another input" in capsys.readouterr().err


def test_a_column_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table({"scan": [b""]}), tmp_path / "in.parquet")
    assert bulk_read(tmp_path / "in.parquet", tmp_path / "out") == 2
    assert "'image'" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"junk", b"PAR1" + bytes(20) + b"PAR1"])
def test_a_file_that_is_no_parquet_is_named(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.parquet").write_bytes(content)
    assert bulk_read(tmp_path / "in.parquet", tmp_path / "out") == 2
    assert "in.parquet can't be read as Parquet: " in capsys.readouterr().err


@pytest.mark.parametrize("job", ["", "{", "[]", "{}", '"input"'])
def test_a_folder_whose_job_is_damaged_is_not_written_to(
    job: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / bulk.JOB_FILE).write_text(job)
    assert bulk_read(folder, tmp_path) == 2
    assert "take a new folder" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("precious")
    assert bulk_read(folder, tmp_path / "out") == 3
    assert "out: File exists" in capsys.readouterr().err


def test_a_file_that_has_gone_costs_no_other_anything(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to(tmp_path / "none")
    shutil.copy(PICTURES[0], tmp_path / "in" / "b.png")
    assert bulk_read(tmp_path / "in", tmp_path / "out") == 0
    gone, read = answers(tmp_path / "out")
    assert "No such file" in gone["error"]
    assert read["error"] is None


def test_names_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    folder, output = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in\xff")), tmp_path / "out"
    folder.mkdir()
    shutil.copy(PICTURES[0], folder / os.fsdecode(b"\xe4.png"))
    shutil.copy(PICTURES[0], folder / "ü.png")
    assert bulk_read(folder, output) == bulk_read(folder, output) == 0
    assert [row["image"] for row in answers(output)] == ["ü.png", "\\xe4.png"]


def test_paths_that_are_no_text_are_read_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output, again = (
        Path(os.fsdecode(os.fsencode(tmp_path) + name))
        for name in (b"/in\xff", b"/out\xfe", b"/again\xfd")
    )
    source.mkdir()
    shutil.copy(PICTURES[0], source / "a.png")
    assert bulk_read(source, output) == 0
    assert "out\\xfe" in capsys.readouterr().out
    (part,) = output.glob("*.parquet")
    with part.open("rb") as file:
        (row,) = pq.read_table(file).to_pylist()
    assert row["error"] is None
    column = Path(os.fsdecode(os.fsencode(tmp_path) + b"/rows\xff.parquet"))
    with column.open("wb") as file:
        pq.write_table(pa.table({"image": [PICTURES[0].read_bytes()]}), file)
    assert bulk_read(column, again) == 0


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--processes", "0", "'0' is no whole number from 1 on."),
        ("--processes", "x", "'x' is no whole number from 1 on."),
        ("--part", "5/4", "'5/4' is no share. Give K/N with K from 1 to N"),
        ("--part", "0/4", "'0/4' is no share."),
        ("--part", "2", "'2' is no share."),
    ],
)
def test_numbers_that_are_none_are_wrong_usage(
    option: str, value: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        bulk_read(tmp_path, tmp_path / "out", option, value)
    assert f"{option}: {reason}" in capsys.readouterr().err


def test_a_folder_without_an_image_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    assert bulk_read(tmp_path / "in", tmp_path / "out") == 0
    assert caplog.messages == [f"{tmp_path / 'in'} has no image."]

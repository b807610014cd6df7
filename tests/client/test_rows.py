from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from digits import Model, Outcome, Prediction, Seen, SourceError
from digits.errors import DigitsError, problem_from
from digits.rows import COLUMNS, Csv, JsonLines, RowWriter, TableRows, names_in, percent
from digits.sources import UsageError
from tests.conftest import png, spoken

PREDICTION = Prediction(7, 0.91, (0.01,) * 7 + (0.91, 0.01, 0.01), None, Model("digits", "4"))
BLANK = Prediction(None, 0.1, (0.1,) * 10, "blank", Model("digits", "4"))
NOT_AN_IMAGE = problem_from(
    {"type": "/problems/not-an-image", "detail": "Image 3: The bytes are a PDF."}, status=415
)
MISSING = SourceError("The file can't be read: No such file or directory.")
ODD_NAME = 'a "quoted", [red]name[/red] – \x1b[2J.png'


def outcome(
    name: str, prediction: Prediction | None = None, error: DigitsError | None = None
) -> Outcome:
    return Outcome(Path(name), prediction, error)


OUTCOMES = [
    outcome("seven.png", PREDICTION),
    outcome("blank.png", BLANK),
    outcome("letter.pdf", error=NOT_AN_IMAGE),
    outcome(ODD_NAME, error=MISSING),
]


def written(writer: RowWriter) -> None:
    for each in OUTCOMES:
        writer.write(each)
    writer.close()


def test_json_lines() -> None:
    file = io.StringIO()
    written(JsonLines(file))
    rows = [json.loads(line) for line in file.getvalue().splitlines()]
    assert rows[0] == {
        "image": "seven.png",
        "label": 7,
        "confidence": 0.91,
        "probabilities": [*PREDICTION.probabilities],
        "rejected": None,
        "model": {"name": "digits", "version": "4"},
    }
    assert (rows[1]["label"], rows[1]["rejected"]) == (None, "blank")
    detail = "The bytes are a PDF."
    error = {"type": "/problems/not-an-image", "status": 415, "detail": detail}
    assert rows[2] == {"image": "letter.pdf", "error": error}
    assert rows[3] == {"image": ODD_NAME, "error": {"detail": str(MISSING)}}


def test_csv() -> None:
    file = io.StringIO()
    written(Csv(file))
    header, *rows = csv.reader(io.StringIO(file.getvalue()))
    assert tuple(header) == COLUMNS
    assert rows[0][:5] == ["seven.png", "7", "0.91", "", ""]
    assert [float(text) for text in rows[0][5:]] == [*PREDICTION.probabilities]
    assert rows[1][:5] == ["blank.png", "", "0.1", "blank", ""]
    assert rows[2] == ["letter.pdf", "", "", "", "The bytes are a PDF.", *[""] * 10]
    assert rows[3][0] == ODD_NAME


def table(*outcomes: Outcome, pictures: bool = False, terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=terminal)
    writer = TableRows(console, pictures=pictures)
    for each in outcomes:
        writer.write(each)
    writer.close()
    return file.getvalue()


def test_a_table_for_people() -> None:
    lines = table(*OUTCOMES).splitlines()
    assert lines[0].split() == ["image", "digit", "confidence", "note"]
    assert lines[1].split() == ["seven.png", "7", "91.00%"]
    assert lines[2].split() == ["blank.png", "–", "10.00%", "blank"]
    assert lines[3].split() == ["letter.pdf", "–", "The", "bytes", "are", "a", "PDF."]
    assert "[red]name[/red]" in lines[4]
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("confidence", "text"), [(0.5, "50.00%"), (0.99989, "99.99%"), (0.99999, ">99.99%")]
)
def test_no_answer_is_certain(confidence: float, text: str) -> None:
    assert percent(confidence) == text


def test_a_long_table_has_a_header_once_and_its_columns_stay() -> None:
    lines = table(*OUTCOMES[:1] * 100).splitlines()
    assert sum("confidence" in line for line in lines) == 1
    assert {line.index("91.00%") for line in lines[1:]} == {lines[1].index("91.00%")}
    assert len(lines) == 101


def test_pictures_show_what_the_model_saw() -> None:
    seen = Seen(png(spoken(7)), inverted=False, box=None, warnings=())
    prediction = Prediction(7, 0.91, (0.1,) * 10, None, Model("digits", "4"), seen)
    text = table(outcome("seven.png", prediction), OUTCOMES[3], pictures=True, terminal=True)
    assert text.count("▀") == 14 * 7
    assert "\x1b[" in text
    assert "\x1b[2J" not in text


def test_a_picture_of_another_kind_is_left_out() -> None:
    seen = Seen(b"no picture", inverted=False, box=None, warnings=())
    prediction = Prediction(7, 0.91, (0.1,) * 10, None, Model("digits", "4"), seen)
    assert "91.00%" in table(outcome("seven.png", prediction), pictures=True)


@pytest.mark.parametrize("is_csv", [False, True])
def test_a_file_says_what_it_has(tmp_path: Path, is_csv: bool) -> None:
    path = tmp_path / "results"
    with path.open("w", encoding="utf-8", newline="") as file:
        written(Csv(file) if is_csv else JsonLines(file))
    expected = {"seven.png", "blank.png", "letter.pdf", ODD_NAME}
    assert names_in(path, is_csv=is_csv) == expected
    whole = path.read_bytes()
    cut = whole.rstrip(b"\n").rfind(b"\n") + 1
    for end in range(cut, len(whole)):
        path.write_bytes(whole[:end])
        assert names_in(path, is_csv=is_csv) == expected - {ODD_NAME}
        assert path.read_bytes() == whole[:cut]


@pytest.mark.parametrize("is_csv", [False, True])
def test_a_file_that_was_only_begun_has_nothing(tmp_path: Path, is_csv: bool) -> None:
    path = tmp_path / "results"
    for begun in (b"", b"image,lab", b'{"ima', b"x" * 200_000):
        path.write_bytes(begun)
        assert names_in(path, is_csv=is_csv) == set()
        assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("content", "is_csv"),
    [(b"a,b\n", True), (b'{"image": "x"}\n', True), (b"image\n", False), (b"[1]\n", False)],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, is_csv: bool) -> None:
    path = tmp_path / "results"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="can't be resumed"):
        names_in(path, is_csv=is_csv)

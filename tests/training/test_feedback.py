from pathlib import Path

import numpy as np
import pytest

from app.serving.feedback import FOLDERS, FeedbackFolder
from training import feedback
from training.corpora import folder


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """30 labelled pictures, 5 that are no digit, and 4 without a label."""
    place = tmp_path / "kept"
    place.mkdir()
    keeper = FeedbackFolder(place, max_bytes=2**24, max_seconds=1e6)
    rng = np.random.default_rng(1)
    pictures = iter(rng.integers(0, 256, (39, 28, 28), dtype=np.uint8))
    for number in range(30):
        keeper.keep(next(pictures), number % 10)
    for _ in range(5):
        keeper.keep(next(pictures), None)
    for picture in pictures:
        keeper.keep_unlabelled(picture)
    return place


def test_what_is_exported_is_what_training_reads(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert feedback.main([str(kept), f"--out={out}"]) == 0
    assert "30 pictures" in (said := capsys.readouterr().out)
    assert "5 that are no digit" in said
    own = folder.read(out)
    assert len(own) == 30
    assert np.bincount(own.labels).tolist() == [3] * 10
    assert feedback.main([str(kept), f"--out={out}"]) == 2


def test_the_sample_comes_to_be_labelled(kept: Path, tmp_path: Path) -> None:
    assert feedback.export(kept, tmp_path / "out", unlabelled=True) == (34, 0)
    lines = (tmp_path / "out" / "labels.csv").read_text().splitlines()
    assert sum(line.endswith(",,uncertain") for line in lines) == 4


def test_numbers_are_a_folder_of_their_own(kept: Path, tmp_path: Path) -> None:
    keeper = FeedbackFolder(kept, max_bytes=2**24, max_seconds=1e6)
    for width, text in ((60, "19"), (90, "0077"), (50, None)):
        keeper.keep_row(np.full((28, width), width, np.uint8), text)
    assert feedback.export(kept, tmp_path / "out") == (30, 3)
    entries = folder.listed(tmp_path / "out" / feedback.NUMBERS)
    assert sorted((entry.label, entry.kind) for entry in entries) == [
        ("", "number"),
        ("0077", "number"),
        ("19", "number"),
    ]
    assert len(folder.read(tmp_path / "out")) == 30


def test_the_folders_are_the_services() -> None:
    assert (*feedback.DIGITS, feedback.NO_DIGIT, feedback.UNLABELLED, feedback.ROWS) == FOLDERS


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert feedback.main([str(tmp_path / "no"), f"--out={tmp_path / 'out'}"]) == 2

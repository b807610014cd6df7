from pathlib import Path

import numpy as np
import pytest

from app.inference import loading
from app.inference.classifier import Classifier, Thresholds
from training import worst


def told(images: np.ndarray) -> np.ndarray:
    """Answer each image with the digit that its first pixel says, surely if its second is set."""
    scores = np.full((len(images), 11), 0.01, np.float32)
    scores[np.arange(len(images)), images[:, 0, 0]] = 0.91
    scores[:, 10] = images[:, 0, 1]
    return scores


CLASSIFIER = Classifier("digits", "1", {}, Thresholds(digit_score=0.5, confidence=0.5), told)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A pool of three kinds: one without a failure, one half rejected, one all wrong."""
    digits = np.zeros((6, 28, 28), np.uint8)
    digits[:, 0, 0] = [1, 1, 1, 1, 7, 7]
    digits[:, 0, 1] = [1, 1, 1, 0, 1, 1]
    path = tmp_path / "strokes.npz"
    names = np.array(["plain", "footed", "flag"])
    np.savez(path, digits=digits, labels=np.ones(6), kinds=[0, 0, 1, 1, 2, 2], kind_names=names)
    return path


def test_the_worst_kind_is_first_and_a_kind_without_failures_is_left_out(file: Path) -> None:
    flag, footed = worst.worst(CLASSIFIER, [file])
    assert (flag.name, flag.done, flag.count) == ("strokes: flag", 0, 2)
    assert flag.answers.tolist() == [7, 7]
    assert flag.accepted.all()
    assert (footed.name, footed.share) == ("strokes: footed", 0.5)
    assert footed.answers.tolist() == [1]
    assert not footed.accepted.any()


def test_the_command_draws_them(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loading, "load", lambda folder: CLASSIFIER)
    out = file.with_name("worst.png")
    assert worst.main(["--model", "1", "--out", str(out), str(file)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.splitlines() == [
        "strokes: flag: 0 of 2 accepted and right",
        "strokes: footed: 1 of 2 accepted and right",
    ]

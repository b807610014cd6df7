import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import export_stand_in, png
from training import compare, evaluate
from training.corpora import folder

# Keras 3.15 saving weights under NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def always_one(tf: Any, images: Any) -> dict[str, Any]:
    """A model that sees a 1 in everything, and is sure of it."""
    ones = tf.ones([tf.shape(images)[0]])
    return {"probabilities": tf.one_hot(tf.cast(ones, tf.int32), 10), "digit_score": ones}


@pytest.fixture(scope="module")
def models(small_version: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 knows digits, 2 does not."""
    models = tmp_path_factory.mktemp("models")
    shutil.copytree(small_version, models / "1")
    export_stand_in(models / "2", always_one)
    return models


class Page(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_says_which_version_is_right_where(
    models: Path, own_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    words = ["1", "2", "--images", str(own_images), "--models", str(models), "--out", str(out)]
    assert compare.main(words) == 0
    figures = json.loads((out / "comparison.json").read_text())
    images = folder.read(own_images)
    answers = evaluate.Folder(models / "1").normalized(images.images, images.blank)
    right = answers.labels == images.labels
    is_one = images.labels == 1
    first, second = figures["versions"]
    assert first["accuracy"] == pytest.approx(right.mean(), abs=1e-6)
    assert first["interval"][0] < first["accuracy"] < first["interval"][1]
    assert second["accuracy"] == pytest.approx(is_one.mean(), abs=1e-6)
    assert first["bytes"] > 0
    assert first["microseconds_alone"] > 0
    difference = figures["difference"]
    assert difference["only_first_right"] == (right & ~is_one).sum()
    assert difference["only_second_right"] == (is_one & ~right).sum()
    assert difference["both_right"] == (right & is_one).sum()
    assert difference["mcnemar_p"] < 1e-6
    assert sum(group["count"] for group in figures["labels"].values()) == len(images)
    assert figures["labels"]["1"]["accuracies"][1] == 1
    assert figures["kinds"] == {}
    assert len(figures["differing"]) >= difference["only_first_right"]
    assert "Version 1 is better on these images" in capsys.readouterr().out
    page = Page((out / "comparison.html").read_text())
    assert page.tags.count("img") == 2
    assert "Version 1 is better on these images" in page.text
    assert cv2.imread(str(out / "differing.png")) is not None


def test_a_version_does_not_differ_from_itself(
    models: Path, own_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(models / "1")] * 2
    assert compare.main([*folders, "--images", str(own_images), "--out", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "comparison.json").read_text())
    assert figures["differing"] == []
    assert figures["difference"]["interval"] == [0, 0]
    assert figures["difference"]["mcnemar_p"] == 1
    assert "No difference can be told between 1 and 1" in capsys.readouterr().out


def test_kinds_and_blanks_count_and_names_are_no_markup(models: Path, tmp_path: Path) -> None:
    digit = cv2.resize(np.load(models / "1" / "golden.npz")["images"][1], (112, 112))
    (tmp_path / "one.png").write_bytes(png(255 - digit))
    (tmp_path / "blank.png").write_bytes(png(np.full((40, 40), 255, np.uint8)))
    (tmp_path / "labels.csv").write_text(
        "file,label,kind\none.png,1,<b>photo\nblank.png,0,blank\n", encoding="utf-8"
    )
    words = [str(models / "1"), str(models / "2"), "--images", str(tmp_path)]
    assert compare.main([*words, "--out", str(tmp_path / "report")]) == 0
    figures = json.loads((tmp_path / "report" / "comparison.json").read_text())
    assert figures["kinds"]["blank"]["accuracies"] == [0, 0]  # a blank has no label to be right
    assert figures["kinds"]["<b>photo"]["accuracies"][1] == 1
    page = Page((tmp_path / "report" / "comparison.html").read_text())
    assert "b" not in page.tags
    assert "<b>photo" in page.text


@pytest.mark.parametrize(
    ("second", "images", "says"),
    [("9", None, "manifest.json is missing"), ("2", "nowhere", "nowhere: no such folder")],
)
def test_what_can_not_be_compared_is_one_clear_line(
    models: Path,
    own_images: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    second: str,
    images: str | None,
    says: str,
) -> None:
    words = ["1", second, "--images", images or str(own_images), "--models", str(models)]
    assert compare.main([*words, "--out", "/dev/null/none"]) == 2
    assert says in capsys.readouterr().err

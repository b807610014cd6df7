import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from training import evaluate, people
from training.corpora.data import DataError
from training.evaluate import Answers

# Keras converts its variables in a way that NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class Told:
    """Answers each file with the digit that it begins with; rejects what ends in "no"."""

    def arrays(self, images: np.ndarray) -> Answers:
        raise NotImplementedError

    def files(self, images: Sequence[bytes]) -> Answers:
        probabilities = np.full((len(images), 10), 0.005, np.float32)
        for place, image in enumerate(images):
            probabilities[place, int(image[:1])] = 0.955
        accepted = np.array([not image.endswith(b"no") for image in images])
        return Answers(probabilities, accepted)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        ("a.png", "1", "s1", "photo", b"1"),
        ("b.png", "1", "s1", "photo", b"7"),
        ("c.png", "7", "s2", "scan", b"7 no"),
        ("d.png", "12", "s2", "scan", b"1 no"),
        ("e.png", "1+2", "s2", "scan", b"1"),
        ("f.png", "", "s2", "scan", b"3 no"),
    ]
    lines = ["file,label,source,kind"]
    for name, label, source, kind, content in rows:
        (tmp_path / name).write_bytes(content)
        lines.append(f"{name},{label},{source},{kind}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path


def test_digits_several_and_none_are_counted_apart(folder: Path) -> None:
    figures = people.report(Told(), folder)
    singles = figures["single_digits"]
    assert (singles["right"]["hits"], singles["right"]["of"]) == (2, 3)
    assert (singles["accepted"]["hits"], singles["accepted_and_right"]["hits"]) == (2, 1)
    assert singles["right_of_accepted"]["share"] == 0.5
    assert singles["right_of_said_0.9_to_0.99"]["of"] == 3
    assert singles["by_label"]["1"]["right"]["of"] == 2
    assert singles["by_source"]["s2"]["accepted"]["hits"] == 0
    assert set(singles["by_kind"]) == {"photo", "scan"}
    assert figures["several_digits"]["rejected"]["hits"] == 1
    assert figures["several_digits"]["rejected"]["of"] == 2
    assert figures["no_digit"]["rejected"] == people.ratio(np.array([True]))


def test_a_table_says_it_in_words(folder: Path) -> None:
    text = "\n".join(people.lines(people.report(Told(), folder)))
    assert "| single digits | 3 | 66.7% (20.8–93.8) | 66.7% (20.8–93.8) | 50.0%" in text
    assert "… of source s1" in text
    assert "… ones" in text
    assert "Several digits, rejected: 50.0%" in text


def test_figures_without_sources_have_no_groups(tmp_path: Path) -> None:
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "x.png").write_bytes(b"3")
    figures = people.report(Told(), tmp_path)
    assert figures["single_digits"]["by_source"] == {}
    assert figures["no_digit"]["rejected"]["of"] == 0
    assert "No digit, rejected: none" in "\n".join(people.lines(figures))


def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        people.report(Told(), tmp_path / "none")


def test_the_command_measures_a_folder_and_nothing_else(
    own_images: Path, small_version: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(small_version), "--people", str(own_images), "--data", "/none"]
    assert evaluate.main(words) == 0
    out, err = capsys.readouterr()
    figures = json.loads(out)["people"]
    assert figures["single_digits"]["right"]["of"] == 120
    assert "| single digits | 120 |" in err

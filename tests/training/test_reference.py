import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from app.inference import loading
from app.inference.classifier import Rejection
from app.inference.judge import RowRejection
from app.observe.drift import NUMBERS, Reference
from training import reference

# TensorFlow asks NumPy in its old way for what Keras saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def version(small_version: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_version, tmp_path / "1"))


def test_the_reference_is_added_to_the_card_and_the_manifest_holds(
    version: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "SCENES_PER_KIND", 4)
    monkeypatch.setattr(reference, "ROWS_PER_KIND", 2)
    before = json.loads((version / "model_card.json").read_text())
    assert reference.main([str(version), f"--data={small_data}", "--any-data"]) == 0
    card = json.loads((version / "model_card.json").read_text())
    assert {name: card[name] for name in before} == before
    loading.verify(version)
    entry = card["reference"]
    assert entry["images"] == 4 * 33
    assert sum(entry["label"]) == pytest.approx(1, abs=1e-4)
    assert sum(entry["rejection"].values()) == pytest.approx(1, abs=1e-4)
    assert entry["accuracy"]["accepted"] >= entry["accuracy"]["all"] > 0.5
    found = Reference.of_card(card, list(Rejection))
    assert found
    assert np.all(np.diff(found.bounds["stroke"]) > 0)
    assert found.accuracy.min() >= 0
    rows = card["number_reference"]
    assert rows["images"] == 2 * 11
    assert sum(rows["rejection"].values()) == pytest.approx(1, abs=1e-4)
    assert rows["rejection"].keys() == {"accepted", *RowRejection}
    assert Reference.of_card(card, list(RowRejection), NUMBERS)


def test_too_few_images_of_your_own_are_refused(
    version: Path, own_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (version / "model_card.json").read_bytes()
    assert reference.main([str(version), f"--images={own_images}"]) == 2
    assert "120 images can be used; 500 are the least" in capsys.readouterr().err
    assert (version / "model_card.json").read_bytes() == before


def test_images_of_your_own_are_a_reference(
    version: Path, own_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "LEAST", 100)
    assert reference.main([str(version), f"--images={own_images}"]) == 0
    card = json.loads((version / "model_card.json").read_text())
    assert card["reference"]["made_of"] == "120 images of the service's own"
    assert Reference.of_card(card, list(Rejection))

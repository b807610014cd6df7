import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.inference.classifier import Thresholds
from app.inference.registry import version_to_serve
from app.main import create_app
from app.settings import Settings
from tests.conftest import ROOT
from training import evaluate, export, model
from training.corpora import data

LABELS = np.tile(np.arange(10, dtype=np.uint8), 2)
DIGITS = data.Digits(export.golden_images()[:20], LABELS)
SPLIT = data.Split(train=DIGITS, validation=DIGITS, test=DIGITS, sha256={})
MODELS = ROOT / "models" / "digits"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version of an untrained network, which accepts about half of anything."""
    models = tmp_path_factory.mktemp("models")
    network = model.build("mlp")
    thresholds = {"digit_score": 0.0, "confidence": 0.19}
    export.export(network, 1.0, {"figures": {"kept": 1}, "thresholds": thresholds}, models)
    return models


def test_a_folder_and_its_service_answer_alike(models: Path) -> None:
    folder = evaluate.Folder(models / "1")
    with TestClient(create_app(Settings(models_dir=models))) as client:
        service = evaluate.Service(client)
        files = [evaluate.png(image) for image in DIGITS.images]
        pairs = [
            (folder.arrays(DIGITS.images), service.arrays(DIGITS.images)),
            (folder.files(files), service.files(files)),
        ]
    for direct, served in pairs:
        np.testing.assert_allclose(direct.probabilities, served.probabilities, atol=1e-3)
        assert np.array_equal(direct.accepted, served.accepted)


def test_a_blank_page_is_not_accepted(models: Path) -> None:
    blank = evaluate.png(np.full((40, 40), 255, np.uint8))
    answers = evaluate.Folder(models / "1").files([blank])
    assert not answers.accepted.any()
    np.testing.assert_allclose(answers.probabilities, 0.1)


def test_a_folder_rejects_several_digits_as_the_service_does() -> None:
    one = np.pad(DIGITS.images[1], 4)
    folder = evaluate.Folder(version_to_serve(MODELS))
    answers = folder.files([evaluate.png(one), evaluate.png(np.hstack([one, one]))])
    assert answers.accepted.tolist() == [True, False]


def test_scores_are_judged_by_the_services_rule() -> None:
    scores = np.zeros((3, 11), np.float32)
    scores[:, :10] = np.eye(10)[[0, 1, 2]] * 0.8 + 0.02
    scores[1, :10] = 0.1
    scores[:, 10] = 0.9, 0.9, 0.1
    answers = evaluate.judge(scores, Thresholds(digit_score=0.5, confidence=0.5))
    assert answers.accepted.tolist() == [True, False, False]
    assert answers.labels.tolist() == [0, 0, 2]


def test_a_report_is_complete_and_its_pictures_are_drawn(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usps = data.Digits(DIGITS.images[:, 6:22, 6:22], LABELS)
    measured = evaluate.report(evaluate.Folder(models / "1"), SPLIT, usps, per_kind=1)
    figures = measured.figures
    assert figures["test_accuracy"] == np.mean(measured.test.labels == LABELS)
    for name in ("altered_arrays", "scenes_of_held_back_mnist", "scenes_of_usps"):
        each = figures[name]["kinds"]
        assert figures[name]["mean"] == pytest.approx(np.mean(list(each.values())), abs=1e-5)
        assert figures[name]["worst_accuracy"] == min(each.values())
    assert 0 <= figures["outliers"]["letters_rejected"] <= 1
    told = capsys.readouterr().err.splitlines()
    intervals = [line for line in told if re.search(r"% \([\d.]+–[\d.]+\) of [\d,]+$", line)]
    assert len(intervals) == 6
    assert json.loads(json.dumps(figures)) == figures
    evaluate.draw(measured, SPLIT, 2, tmp_path / "plots", "v1-")
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "v1-altered-arrays.png",
        "v1-confusion.png",
        "v1-mistakes.png",
        "v1-predictions.png",
        "v1-reliability.png",
        "v1-scenes-of-held-back-mnist.png",
        "v1-scenes-of-usps.png",
    }


def test_the_command_fills_the_card_and_seals_it(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts: dict[str, Any] = {"x_train": DIGITS.images, "y_train": LABELS}
    np.savez(tmp_path / "digits.npz", **parts, x_test=DIGITS.images, y_test=LABELS)
    version = export.export(
        model.build("mlp"),
        1.0,
        {"figures": {"kept": 1}, "thresholds": {"digit_score": 0, "confidence": 0}},
        tmp_path / "models",
    )
    words = ["--model", str(version.folder), "--data", str(tmp_path / "digits.npz"), "--any-data"]
    assert evaluate.main([*words, "--per-kind", "1", "--card"]) == 0
    card = json.loads((version.folder / "model_card.json").read_text())
    assert card["figures"]["kept"] == 1
    assert card["figures"] | json.loads(capsys.readouterr().out) == card["figures"]
    with TestClient(create_app(Settings(models_dir=tmp_path / "models"))) as client:
        assert client.get("/readyz").status_code == 200


def test_a_missing_data_set_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", "nowhere", "--data", str(tmp_path / "nothing.npz")]
    assert evaluate.main(words) == 2
    assert "no such file" in capsys.readouterr().err


def test_nothing_has_no_share() -> None:
    assert evaluate.share(np.array([], bool)) == 0.0

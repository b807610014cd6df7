import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.inference import pointer
from tests.conftest import ROOT
from training import export, huggingface

MODELS = ROOT / "models" / "digits"


def shipped() -> Path:
    live = pointer.read(MODELS)
    assert live
    return MODELS / str(live.version)


def parts(text: str) -> tuple[dict[str, Any], str]:
    """Front matter and body of a README."""
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_readme_of_the_shipped_version(tmp_path: Path) -> None:
    out = tmp_path / "README.md"
    assert huggingface.main([str(shipped()), f"--out={out}"]) == 0
    card = export.read_card(shipped())
    head, body = parts(out.read_text("utf-8"))
    assert (head["license"], head["pipeline_tag"]) == ("apache-2.0", "image-classification")
    [model] = head["model-index"]
    assert model["name"] == f"digits-{card['version']}"
    values = {each["dataset"]["type"]: each["metrics"][0]["value"] for each in model["results"]}
    assert values["mnist"] == card["figures"]["test_accuracy"]
    for heading in ("Intended use", "Limits", "Accuracy, %", "Confidence", "Training"):
        assert f"\n## {heading}" in body
    assert f"{100 * card['figures']['test_accuracy']:.2f}" in body


def test_an_accuracy_has_its_interval() -> None:
    card = {"figures": {"test_accuracy": 0.99, "scenes_of_usps": {"mean": 0.5}}}
    assert list(huggingface.rows(card)) == [
        "| MNIST, test set | 99.00 | 98.79–99.18 | 10000 |",
        "| USPS, as scenes | 50.00 |  |  |",
    ]


def test_a_card_of_little_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = {"name": "digits", "version": "1", "thresholds": {"digit_score": 0, "confidence": 0}}
    (tmp_path / "model_card.json").write_text(json.dumps(card))
    assert huggingface.main([str(tmp_path)]) == 0
    head, _ = parts(capsys.readouterr().out)
    assert head["model-index"] == [{"name": "digits-1", "results": []}]


def test_a_card_that_is_not_there(tmp_path: Path) -> None:
    assert huggingface.main([str(tmp_path)]) == 2

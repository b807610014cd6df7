import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from app.inference import loading as classifier
from training import cascade, export, model, quantize, train
from training.corpora import data

DRAWN = export.golden_images()[:20]
LABELS = np.tile(np.arange(10, dtype=np.uint8), 2)
DIGITS = data.Digits(DRAWN, LABELS)
SPLIT = data.Split(train=DIGITS, validation=DIGITS, test=DIGITS, sha256={})
SURE = 0.9  # the least that is looked at
CARD = {
    "figures": {"temperature": 1.0},
    "thresholds": {"digit_score": 0.0, "confidence": 0.0},
}


def network(arch: str, seed: int = 1) -> Any:
    """Untrained, but sure of what it says: some of it above SURE, and that all are digits."""
    keras.utils.set_random_seed(seed)
    fresh = model.build(arch)
    last = fresh.layers[-1]
    gain = np.array([5] * 10 + [0], np.float32)
    last.set_weights([last.kernel.numpy() * gain, np.array([0] * 10 + [9], np.float32)])
    return fresh


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1: a network; 2: another, ahead of it; 3: the same in eight bits."""
    models = tmp_path_factory.mktemp("models")
    behind = export.export(network("slim"), 1.0, CARD, models)
    careful = {"careful": {"version": "1", "asked_below": SURE, "asked_again": {}}}
    ahead = export.Careful(behind.folder, SURE)
    quick = network("glance", 2)
    version = export.export(quick, 1.0, CARD | careful, models, ahead)
    own = train.logits_of(quick, DRAWN)[:, :10].argmax(axis=1)
    version = quantize.quantize(version.folder, labelled(own), models)
    assert version == export.Version(3, models / "3")
    return models


def labelled(labels: NDArray[np.intp]) -> data.Split:
    digits = data.Digits(DRAWN, labels.astype(np.uint8))
    return data.Split(train=digits, validation=digits, test=digits, sha256={})


def test_answers_are_nearly_those_of_the_graph(models: Path) -> None:
    inputs = [
        tf.lite.Interpreter(
            str(models / "3" / "assets.extra" / f"{name}.tflite")
        ).get_input_details()[0]["dtype"]
        for name in ("quick", "careful")
    ]
    assert inputs == [np.int8, np.int8]
    images = np.random.default_rng(1).integers(0, 256, (37, 28, 28), np.uint8)
    images[:20] = DRAWN
    rows = classifier.load(models / "3")(images)
    probabilities, score = export.reader(models / "3")(images)
    quick = tf.saved_model.load(str(models / "3")).signatures["quick"](images=images)
    sure = cascade.surety_of([quick[name].numpy() for name in ("probabilities", "digit_score")])
    clear = np.abs(sure - SURE) > 0.04  # elsewhere the careful one may be asked of one and not both
    assert (sure[clear] < SURE).any()
    assert clear.sum() > 20
    assert rows[clear, :10] == pytest.approx(probabilities[clear], abs=0.03)
    assert rows[clear, 10] == pytest.approx(score[clear], abs=0.03)
    assert not np.array_equal(rows[:, :10], probabilities)


def test_the_card_says_what_it_is(models: Path) -> None:
    before, after = (json.loads((models / n / "model_card.json").read_text()) for n in "23")
    assert after["version"] == "3"
    assert after["eight_bits"]["of"] == "2"
    assert after["eight_bits"]["against_float32"]["probability_largest"] < 0.05
    assert after["figures"]["test_accuracy"] > 0.8
    assert after["figures"]["temperature"] == 1.0
    assert 0 < after["careful"]["asked_again"]["test"] <= 1
    assert after["compiled_from"] == before["compiled_from"]
    assert after["thresholds"] == before["thresholds"]


def test_it_is_served_as_compiled(models: Path) -> None:
    assert classifier.load(models / "3").lone_seconds < 1
    own, graph = (
        np.load(models / "3" / name) for name in ("assets.extra/golden.npz", "golden.npz")
    )
    assert np.array_equal(own["images"], graph["images"])
    assert not np.array_equal(own["probabilities"], graph["probabilities"])


def test_a_lone_network(models: Path) -> None:
    version = quantize.quantize(models / "1", SPLIT, models / "lone")
    assert [path.name for path in (version.folder / "assets.extra").glob("*.tflite")] == [
        "serving_default.tflite"
    ]
    card = json.loads((version.folder / "model_card.json").read_text())
    assert "careful" not in card
    classify = classifier.load(version.folder)
    probabilities, _ = export.reader(models / "1")(DRAWN)
    assert classify(DRAWN)[:, :10] == pytest.approx(probabilities, abs=0.03)


def test_what_would_answer_worse_is_no_version(models: Path) -> None:
    careful, _ = export.reader(models / "1")(DRAWN)  # which then never errs
    with pytest.raises(quantize.QuantizeError, match=r"wrong where it is 0\.9 sure"):
        quantize.quantize(models / "2", labelled(careful.argmax(axis=1)), models / "worse")
    assert not [*(models / "worse").iterdir()]


def test_what_can_not_be_had_in_eight_bits(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "digits.npz"
    np.savez(file, x_train=DRAWN, y_train=LABELS, x_test=DRAWN, y_test=LABELS)
    words = ["--data", str(file), "--any-data", "--models", str(tmp_path)]
    assert quantize.main([str(models / "3"), *words]) == 2
    assert capsys.readouterr().err.endswith("is in eight bits already\n")
    flat = export.export(model.build("mlp"), 1.0, CARD, tmp_path / "flat").folder
    assert quantize.main([str(flat), *words]) == 2
    assert "without convolutions" in capsys.readouterr().err
    assert quantize.main([str(models / "1"), *words]) == 0
    assert capsys.readouterr().out == f"Exported to {tmp_path / '1'}\n"
    assert quantize.main([str(models / "1"), "--data", str(tmp_path / "none")]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize(("size", "stride"), [(6, 4), (5, 2), (4, 4), (2, 4), (9, 2)])
def test_over_blocks_a_convolution_is_the_same(size: int, stride: int) -> None:
    rng = np.random.default_rng(size)
    kernel = rng.normal(size=(size, size, 1, 3)).astype(np.float32)
    pixels = rng.normal(size=(2, 32, 32, 1)).astype(np.float32)
    strided = tf.nn.conv2d(pixels, kernel, stride, "VALID")
    blocks = tf.nn.space_to_depth(pixels, stride)
    found = tf.nn.conv2d(blocks, quantize.blocks_of(kernel, stride), 1, "VALID")
    count = found.shape[1]
    np.testing.assert_allclose(found, strided[:, :count, :count], atol=1e-4)


def test_images_are_framed_as_they_would_have_been_padded() -> None:
    images = np.ones((2, 28, 28), np.uint8)
    assert np.array_equal(quantize.framed(images, 28), images)
    frame = quantize.framed(images, 32)
    assert frame.shape == (2, 32, 32)
    assert frame[:, 1:29, 1:29].all()
    assert frame.sum() == images.sum()

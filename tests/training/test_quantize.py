from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from structlog.testing import capture_logs

from app.inference.cascade import ACCURATE, FAST
from app.inference.loading import load, read_golden
from app.inference.tflite import FLOAT32, INT8, PRECISIONS, tflite_file
from training import export, model, quantize
from training.corpora import data

DRAWN = export.golden_images()[:20]
LABELS = np.tile(np.arange(10, dtype=np.uint8), 2)
DIGITS = data.Digits(DRAWN, LABELS)
SPLIT = data.Split(train=DIGITS, validation=DIGITS, test=DIGITS, sha256={})
THRESHOLD = 0.9
"""The cascade's; the least that training considers."""
CARD = {
    "figures": {"temperature": 1.0},
    "thresholds": {"digit_score": 0.0, "confidence": 0.0},
}


def network(arch: str, seed: int = 1) -> Any:
    """Return an untrained network, confident above `THRESHOLD` of some, and that all are digits."""
    keras.utils.set_random_seed(seed)
    fresh = model.build(arch)
    last = fresh.layers[-1]
    gain = np.array([5] * 10 + [0], np.float32)
    last.set_weights([last.kernel.numpy() * gain, np.array([0] * 10 + [9], np.float32)])
    return fresh


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write versions 1, a network; 2, a cascade of another and this; 3, the same with int8."""
    models = tmp_path_factory.mktemp("models")
    accurate = export.export(network("slim"), 1.0, CARD, models)
    cascade = export.Cascade(accurate.folder, THRESHOLD)
    card = CARD | {"cascade": {"version": "1", "threshold": THRESHOLD, "share_unsure": {"test": 1}}}
    fast = network("glance", 2)
    version = export.export(fast, 1.0, card, models, cascade)
    own = model.logits_of(fast, DRAWN)[:, :10].argmax(axis=1)
    version = quantize.quantize(version.folder, labelled(own), models)
    assert version == export.Version(3, models / "3")
    return models


def labelled(labels: NDArray[np.intp]) -> data.Split:
    digits = data.Digits(DRAWN, labels.astype(np.uint8))
    return data.Split(train=digits, validation=digits, test=digits, sha256={})


def test_int8_scores_are_nearly_those_of_the_graph(models: Path) -> None:
    for network in (FAST, ACCURATE):
        program = tf.lite.Interpreter(str(tflite_file(models / "3", network, INT8)))
        assert program.get_input_details()[0]["dtype"] is np.int8
    images = np.random.default_rng(1).integers(0, 256, (37, 28, 28), np.uint8)
    images[:20] = DRAWN
    scores = load(models / "3", precisions=(INT8,))(images)
    expected = export.reader(models / "3")(images)
    outputs = tf.saved_model.load(str(models / "3")).signatures[FAST](images=images)
    least = np.minimum(outputs["probabilities"].numpy().max(axis=1), outputs["digit_score"].numpy())
    clear = np.abs(least - THRESHOLD) > 0.04  # elsewhere, the networks asked may differ
    assert (least[clear] < THRESHOLD).any()
    assert clear.sum() > 20
    assert scores[clear] == pytest.approx(expected[clear], abs=0.03)
    assert not np.array_equal(scores, expected)


def test_the_card_tells_the_precisions_apart(models: Path) -> None:
    before, after = (export.read_card(models / number) for number in "23")
    assert after["version"] == "3"
    assert after["int8"]["source_version"] == "2"
    assert after["int8"]["against_float32"]["probability_largest"] < 0.05
    assert after["float32"] == {"figures": before["figures"], "share_unsure": {"test": 1}}
    assert after["figures"]["test_accuracy"] > 0.8
    assert after["figures"]["temperature"] == 1.0
    assert 0 < after["cascade"]["share_unsure"]["test"] <= 1
    assert after["converted_from"] == before["converted_from"]
    assert after["thresholds"] == before["thresholds"]


def test_each_precision_has_golden_scores_of_its_own(models: Path) -> None:
    for network in (FAST, ACCURATE):
        float32, int8 = (
            read_golden(tflite_file(models / "3", network, precision).with_suffix(".npz"))
            for precision in PRECISIONS
        )
        assert np.array_equal(float32.images, int8.images)
        assert not np.array_equal(float32.scores, int8.scores)
        assert float32.scores == pytest.approx(int8.scores, abs=0.05)
    with capture_logs() as logs:
        load(models / "3")
    assert [log["event"] for log in logs] == ["programs chosen"]


def test_the_float32_programs_stay_as_they_are(models: Path) -> None:
    for network in (FAST, ACCURATE):
        before, after = (tflite_file(models / number, network, FLOAT32) for number in "23")
        assert before.read_bytes() == after.read_bytes()


def test_a_single_network(models: Path) -> None:
    version = quantize.quantize(models / "1", SPLIT, models / "single")
    programs = {path.name for path in (version.folder / "assets.extra").glob("*.tflite")}
    assert programs == {"serving_default.float32.tflite", "serving_default.int8.tflite"}
    assert "cascade" not in export.read_card(version.folder)
    scores = load(version.folder, precisions=(INT8,))(DRAWN)
    assert scores == pytest.approx(export.reader(models / "1")(DRAWN), abs=0.03)


def test_a_version_that_would_be_worse_is_not_written(models: Path) -> None:
    accurate = export.reader(models / "1")(DRAWN)[:, :10]  # with its labels, it makes no mistake
    with pytest.raises(quantize.QuantizeError, match=r"wrong where it is 0\.9 sure"):
        quantize.quantize(models / "2", labelled(accurate.argmax(axis=1)), models / "worse")
    assert not [*(models / "worse").iterdir()]


def test_versions_that_are_refused(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "digits.npz"
    np.savez(file, x_train=DRAWN, y_train=LABELS, x_test=DRAWN, y_test=LABELS)
    words = ["--data", str(file), "--any-data", "--models", str(tmp_path)]
    assert quantize.main([str(models / "3"), *words]) == 2
    assert capsys.readouterr().err.endswith("has int8 already\n")
    flat = export.export(model.build("mlp"), 1.0, CARD, tmp_path / "flat").folder
    assert quantize.main([str(flat), *words]) == 2
    assert "without convolutions" in capsys.readouterr().err
    assert quantize.main([str(models / "1"), *words]) == 0
    assert capsys.readouterr().out == f"Exported to {tmp_path / '1'}\n"
    assert quantize.main([str(models / "1"), "--data", str(tmp_path / "none")]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize(("size", "stride"), [(6, 4), (5, 2), (4, 4), (2, 4), (9, 2)])
def test_a_convolution_over_blocks_is_the_same(size: int, stride: int) -> None:
    rng = np.random.default_rng(size)
    kernel = rng.normal(size=(size, size, 1, 3)).astype(np.float32)
    pixels = rng.normal(size=(2, 32, 32, 1)).astype(np.float32)
    strided = tf.nn.conv2d(pixels, kernel, stride, "VALID")
    blocks = tf.nn.space_to_depth(pixels, stride)
    found = tf.nn.conv2d(blocks, quantize.kernel_over_blocks(kernel, stride), 1, "VALID")
    count = found.shape[1]
    np.testing.assert_allclose(found, strided[:, :count, :count], atol=1e-4)


def test_images_are_padded_as_the_convolution_would() -> None:
    images = np.ones((2, 28, 28), np.uint8)
    assert np.array_equal(quantize.pad(images, 28), images)
    padded = quantize.pad(images, 32)
    assert padded.shape == (2, 32, 32)
    assert padded[:, 1:29, 1:29].all()
    assert padded.sum() == images.sum()

import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.inference.cascade import cascade, is_unsure
from app.inference.loading import read_golden
from training import calibrate, export, model

CPU_INFO = Path("/proc/cpuinfo")


def network(arch: str = "cnn") -> Any:
    """Untrained, but with batch norms that have something to fold."""
    keras.utils.set_random_seed(1)
    fresh = model.build(arch)
    rng = np.random.default_rng(1)
    for norm in model.batch_norms(fresh):
        norm.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in norm.get_weights()])
    return fresh


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> export.Version:
    models = tmp_path_factory.mktemp("models")
    (models / "7").mkdir()
    (models / "notes").mkdir()
    card = {"figures": {"test_accuracy": 0.5}, "thresholds": {"digit_score": 0, "confidence": 0}}
    return export.export(network(), 1.7, card, models)


def test_the_next_free_number_is_taken(version: export.Version) -> None:
    assert version.number == 8
    assert version.folder.name == "8"
    card = json.loads((version.folder / "model_card.json").read_text())
    assert (card["name"], card["version"]) == ("digits", "8")
    assert card["figures"] == {"test_accuracy": 0.5}
    assert not list(version.folder.parent.glob(".*"))


def test_the_manifest_has_every_file_and_its_sum(version: export.Version) -> None:
    files = json.loads((version.folder / "manifest.json").read_text())["files"]
    on_disk = {
        path.relative_to(version.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in version.folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert files == on_disk
    assert {"saved_model.pb", "model_card.json", "golden.npz"} <= set(files)
    assert {f"assets.extra/serving_default.float32.{kind}" for kind in ("tflite", "npz")} < set(
        files
    )
    card = json.loads((version.folder / "model_card.json").read_text())
    assert card["converted_from"] == files["saved_model.pb"]


def test_golden_answers_hold(version: export.Version) -> None:
    with np.load(version.folder / "golden.npz", allow_pickle=False) as golden:
        images, expected = golden["images"], dict(golden)
    assert images.dtype == np.uint8
    assert images.shape[1:] == (28, 28)
    assert len(images) >= 20
    answers = export.load(version.folder)(images)
    for name in ("probabilities", "digit_score"):
        assert expected[name].dtype == np.float32
        np.testing.assert_allclose(answers[name], expected[name], atol=1e-5)
    np.testing.assert_allclose(answers["probabilities"].sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("arch", sorted(model.ARCHITECTURES))
def test_what_is_saved_answers_as_what_was_trained(arch: str, tmp_path: Path) -> None:
    trained = network(arch)
    images = np.random.default_rng(2).integers(0, 256, (33, 28, 28), np.uint8)
    logits = trained(images[..., None] / np.float32(255), training=False).numpy()
    export.save(trained, 2.0, tmp_path)
    answers = export.load(tmp_path)(images)
    np.testing.assert_allclose(
        answers["probabilities"], calibrate.softmax(logits[:, :10] / 2), atol=1e-5
    )
    assert answers["digit_score"].shape == (33,)


@pytest.fixture(scope="module")
def accurate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version to be the accurate network of a cascade."""
    folder = tmp_path_factory.mktemp("accurate")
    export.save(network("slim"), 1.0, folder)
    return folder


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["never unsure", "sometimes", "always"])
def test_a_cascade_is_saved_with_the_rule_that_serving_uses(
    share: float, accurate: Path, tmp_path: Path
) -> None:
    fast = network("glance")
    images = np.random.default_rng(2).integers(0, 256, (9, 28, 28), np.uint8)
    export.save(fast, 1.0, tmp_path / "single")
    fast_alone, accurate_alone = export.reader(tmp_path / "single"), export.reader(accurate)
    scores = fast_alone(images)
    threshold = float(np.quantile(np.minimum(scores[:, :10].max(axis=1), scores[:, 10]), share))
    threshold += {0.0: -0.01, 0.5: 0.0, 1.0: 0.01}[share]
    folder = tmp_path / "cascade"
    export.save(fast, 1.0, folder, export.Cascade(accurate, threshold))
    expected = cascade(fast_alone, accurate_alone, threshold)(images)
    np.testing.assert_allclose(export.reader(folder)(images), expected, atol=1e-5)
    signatures = tf.saved_model.load(str(folder)).signatures
    for name, compute in (("fast", fast_alone), ("accurate", accurate_alone)):
        outputs, expected = signatures[name](images=images), compute(images)
        np.testing.assert_allclose(outputs["probabilities"], expected[:, :10], atol=1e-5)
        np.testing.assert_allclose(outputs["digit_score"], expected[:, 10], atol=1e-5)


def test_each_network_has_a_program_and_golden_scores_of_its_own(
    accurate: Path, tmp_path: Path
) -> None:
    export.save(network("glance"), 1.0, tmp_path, export.Cascade(accurate, 0.5))
    images = export.golden_images()
    export.write_golden(tmp_path / "golden.npz", images, export.reader(tmp_path))
    export.write_tflite(tmp_path, "float32", export.convert_float32)
    programs = {path.name for path in (tmp_path / "assets.extra").glob("*.tflite")}
    assert programs == {"fast.float32.tflite", "accurate.float32.tflite"}
    signatures = tf.saved_model.load(str(tmp_path)).signatures
    for name in ("fast", "accurate"):
        golden = read_golden(tmp_path / "assets.extra" / f"{name}.float32.npz")
        assert np.array_equal(golden.images, images)
        outputs = signatures[name](images=images)
        np.testing.assert_allclose(golden.scores[:, :10], outputs["probabilities"], atol=1e-5)
        np.testing.assert_allclose(golden.scores[:, 10], outputs["digit_score"], atol=1e-5)


def test_golden_inputs_are_clear_of_the_cascades_threshold(accurate: Path) -> None:
    fast, images = network("glance"), export.golden_images()
    single = export.ServingModule(fast, 1.0)
    outputs = single.fast(images)
    probability, score = (
        outputs["probabilities"].numpy().max(axis=1),
        outputs["digit_score"].numpy(),
    )
    threshold = float(min(probability[3], score[3]))
    module = export.ServingModule(fast, 1.0, export.Cascade(accurate, threshold))
    clear = module.is_clear_cut(images)
    assert not clear[3]
    below, above = (
        is_unsure(probability, score, threshold + change)
        for change in (-export.CLEARANCE, export.CLEARANCE)
    )
    assert np.array_equal(clear, below == above)


def test_one_image(version: export.Version) -> None:
    answer = export.load(version.folder)
    assert answer(np.zeros((1, 28, 28), np.uint8))["probabilities"].shape == (1, 10)


@pytest.mark.skipif(
    CPU_INFO.exists() and "avx512_vnni" in CPU_INFO.read_text(),
    reason="TensorFlow's kernels for AVX-512 VNNI refuse an empty batch",
)
def test_no_image(version: export.Version) -> None:
    answer = export.load(version.folder)
    assert answer(np.zeros((0, 28, 28), np.uint8))["probabilities"].shape == (0, 10)


def test_an_unknown_layer_is_refused() -> None:
    odd = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.MaxPooling2D()])
    with pytest.raises(ValueError, match="MaxPooling2D"):
        export.frozen(odd)


def test_a_version_is_whole_or_not_there(tmp_path: Path) -> None:
    def interrupted(x: Any) -> NoReturn:
        raise KeyboardInterrupt

    stopped = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()])
    stopped.add(keras.layers.Dense(10, activation=interrupted, name="stopped"))
    with pytest.raises(KeyboardInterrupt):
        export.export(stopped, 1.0, {}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_golden_inputs_are_drawn_the_same_each_time() -> None:
    assert np.array_equal(export.golden_images(), export.golden_images())

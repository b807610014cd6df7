import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np
import pytest
import tensorflow as tf

from training import calibrate, cascade, export, model

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
    assert "assets.extra/serving_default.tflite" in files
    card = json.loads((version.folder / "model_card.json").read_text())
    assert card["compiled_from"] == files["saved_model.pb"]


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
def careful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version to stand behind another."""
    folder = tmp_path_factory.mktemp("careful")
    export.save(network("slim"), 1.0, folder)
    return folder


@pytest.mark.parametrize("sure", [0.0, 0.3, 1.1], ids=["never asked", "asked of some", "of all"])
def test_a_careful_version_answers_what_the_network_is_not_sure_of(
    sure: float, careful: Path, tmp_path: Path
) -> None:
    quick, images = (
        network("glance"),
        np.random.default_rng(2).integers(0, 256, (9, 28, 28), np.uint8),
    )
    export.save(quick, 1.0, tmp_path / "alone")
    export.save(quick, 1.0, tmp_path / "both", export.Careful(careful, sure))
    alone, behind = (export.reader(folder) for folder in (tmp_path / "alone", careful))
    if sure == 0.3:
        sure = float(np.median(cascade.surety_of(alone(images))))
        export.save(quick, 1.0, tmp_path / "both", export.Careful(careful, sure))
    expected = cascade.both(alone, behind, sure)(images)
    for found, wanted in zip(export.reader(tmp_path / "both")(images), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    export.write_compiled(tmp_path / "both")
    programs = {path.name for path in (tmp_path / "both" / "assets.extra").iterdir()}
    assert programs == {"quick.tflite", "careful.tflite"}
    signatures = tf.saved_model.load(str(tmp_path / "both")).signatures
    for name, half in (("quick", alone), ("careful", behind)):
        answer, (probabilities, score) = signatures[name](images=images), half(images)
        np.testing.assert_allclose(answer["probabilities"], probabilities, atol=1e-5)
        np.testing.assert_allclose(answer["digit_score"], score, atol=1e-5)


def test_golden_inputs_are_not_where_a_careful_version_is_just_asked(careful: Path) -> None:
    quick, images = network("glance"), export.golden_images()
    alone = export.Classifier(quick, 1.0)
    answer = alone.quick(images)
    surety = cascade.surety_of([answer[name].numpy() for name in ("probabilities", "digit_score")])
    asked_below = float(surety[3])
    clear = export.Classifier(quick, 1.0, export.Careful(careful, asked_below)).is_clear_cut(images)
    assert not clear[3]
    assert (clear == (np.abs(surety - asked_below) > export.CLEARANCE)).all()


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

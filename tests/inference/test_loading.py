from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import ModelError
from app.inference.loading import Classifier, Thresholds, _quicker_for, load, verify
from app.inference.tflite import SIZES
from app.settings import Settings
from tests.conftest import Image, export_stand_in, plain_stand_in, spoken, write_manifest


@pytest.fixture(scope="session")
def loaded(stand_in: Path) -> Classifier:
    return load(stand_in, max_batch=3)


@pytest.fixture
def version(stand_in: Path, tmp_path: Path) -> Path:
    """A copy of the stand-in, to be altered."""
    return Path(shutil.copytree(stand_in, tmp_path / "7"))


def test_a_version_is_named_by_its_folder_and_card(loaded: Classifier) -> None:
    assert (loaded.name, loaded.version) == ("digits", "1")
    assert loaded.card["thresholds"] == {"digit_score": 0.5, "confidence": 0.5}
    assert (loaded.thresholds.digit_score, loaded.thresholds.confidence) == (0.5, 0.5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_rows_are_probabilities_and_score(loaded: Classifier, count: int) -> None:
    rows = loaded(np.stack([spoken(label, score=label / 10) for label in range(count)]))
    assert rows.shape == (count, 11)
    assert rows.dtype == np.float32
    assert rows[:, :10].argmax(axis=1).tolist() == list(range(count))
    assert rows[:, :10].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert rows[:, 10] == pytest.approx([label / 10 for label in range(count)], abs=0.003)


def test_figures_that_are_not_finite_are_no_answer(loaded: Classifier) -> None:
    image = spoken(1)
    image[0, 12] = 255
    with pytest.raises(ModelError, match="not finite"):
        loaded(image[None])


@pytest.mark.parametrize(
    ("number", "apart"), [pytest.param(3, 1e-5, id="float32"), pytest.param(4, 0.1, id="8 bits")]
)
def test_what_is_compiled_answers_as_its_signature(number: int, apart: float) -> None:
    import tensorflow as tf  # noqa: PLC0415 -- see conftest.py

    version = Settings().models_dir / str(number)
    classifier = load(version)
    assert classifier.lone_seconds < math.inf
    images = np.load(version / "golden.npz")["images"]
    unclear = images // 2 + np.roll(images, 1, axis=0) // 2  # the careful half is asked of some
    signatures = tf.saved_model.load(str(version)).signatures
    quick = signatures["quick"](images=unclear)
    surety = np.minimum(quick["probabilities"].numpy().max(axis=1), quick["digit_score"].numpy())
    assert 0 < np.sum(surety < classifier.card["careful"]["asked_below"]) < len(unclear)
    signature = signatures["serving_default"](images=unclear)
    rows = classifier(unclear)
    assert rows[:, :10] == pytest.approx(signature["probabilities"].numpy(), abs=apart)
    assert rows[:, 10] == pytest.approx(signature["digit_score"].numpy(), abs=apart)


@pytest.mark.parametrize(("seconds", "asked"), [(0.02, ["program"] * 2), (0.0, ["signature"] * 2)])
def test_full_batches_go_the_way_that_is_quicker_here(seconds: float, asked: list[str]) -> None:
    seen: list[str] = []

    def taking(name: str, seconds: float) -> Classifier:
        def compute(images: Image) -> Any:
            seen.append(name)
            time.sleep(seconds)
            return np.full((len(images), 11), 0.1, np.float32)

        return Classifier("digits", "1", {}, Thresholds(0, 0), compute)

    full = np.zeros((SIZES[0], 28, 28), np.uint8)
    quicker = _quicker_for(full, taking("program", 0.01), taking("signature", seconds))
    seen.clear()
    quicker(full)
    quicker(full)
    quicker(full[:-1])
    assert seen == [*asked, "program"]


def test_what_is_run_as_it_is_goes_by_batches(loaded: Classifier) -> None:
    assert loaded.lone_seconds == math.inf


def delete(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def truncate(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-1])


def flip_a_bit(name: str) -> Callable[[Path], object]:
    def flip(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    return flip


def with_card(**entries: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "model_card.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))

    return change


def of_another_graph(folder: Path) -> None:
    """A program that answers otherwise than the graph that the card says it is of."""
    export_stand_in(folder / "other", all_alike, compiled=True)
    program = Path("assets.extra", "serving_default.tflite")
    shutil.copy(folder / "other" / program, folder / program)
    shutil.rmtree(folder / "other")


def all_alike(tf: Any, images: Any) -> dict[str, Any]:
    count = tf.shape(images)[0]
    return {"probabilities": tf.fill([count, 10], 0.1), "digit_score": tf.fill([count], 0.5)}


PROGRAM, OWN = "assets.extra/serving_default.tflite", "assets.extra/golden.npz"


def own_golden(**arrays: Any) -> Callable[[Path], object]:
    """Golden answers of the programs alone, which in eight bits are not quite the signature's."""

    def record(folder: Path) -> None:
        with np.load(folder / "golden.npz") as file:
            np.savez(folder / OWN, **({name: file[name] for name in file} | arrays))

    return record


@pytest.mark.parametrize(
    ("alter", "is_compiled"),
    [
        (lambda folder: None, True),
        (with_card(compiled_from="0" * 64), False),
        (write(PROGRAM, "no program"), False),
        (of_another_graph, False),
        (delete(PROGRAM), False),
        (own_golden(), True),
        (own_golden(digit_score=np.full(10, 0.9)), False),
        (write(OWN, "no archive"), False),
    ],
    ids=[
        "as exported",
        "the card names another graph",
        "none",
        "another's",
        "gone",
        "golden answers of its own",
        "others",
        "none of them",
    ],
)
def test_a_program_is_run_if_it_is_that_of_the_graph(
    plain: Path, tmp_path: Path, alter: Callable[[Path], object], is_compiled: bool
) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "7"))
    alter(folder)
    write_manifest(folder)
    classifier = load(folder, max_batch=2)
    assert (classifier.lone_seconds < math.inf) == is_compiled
    assert classifier(spoken(4)[None])[0, :10].argmax() == 4


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that is compiled; to be copied."""
    return export_stand_in(tmp_path_factory.mktemp("plain") / "1", plain_stand_in, compiled=True)


MISSING, DIFFER, ALTERED = "missing or can't be read", "differ in", "is not the file"


@pytest.mark.parametrize(
    ("alter", "says"),
    [
        (shutil.rmtree, MISSING),
        (delete("manifest.json"), MISSING),
        (write("manifest.json", ""), MISSING),
        (write("manifest.json", "[]"), MISSING),
        (write("manifest.json", "{}"), MISSING),
        (write("manifest.json", '{"files": []}'), MISSING),
        (write("manifest.json", '{"files": {}}'), DIFFER),
        (delete("saved_model.pb"), "differ in saved_model.pb"),
        (delete("golden.npz"), "differ in golden.npz"),
        (write("variables/more", ""), "differ in variables/more"),
        (truncate("saved_model.pb"), f"saved_model.pb {ALTERED}"),
        (flip_a_bit("saved_model.pb"), f"saved_model.pb {ALTERED}"),
        (flip_a_bit("golden.npz"), f"golden.npz {ALTERED}"),
        (flip_a_bit("model_card.json"), f"model_card.json {ALTERED}"),
        (flip_a_bit("variables/variables.index"), f"variables/variables.index {ALTERED}"),
    ],
    ids=str,
)
def test_a_folder_that_is_not_its_manifests(
    version: Path, alter: Callable[[Path], object], says: str
) -> None:
    verify(version)
    alter(version)
    with pytest.raises(ModelError, match=says):
        verify(version)
    with pytest.raises(ModelError, match=says):
        load(version)


def golden(**arrays: Any) -> Callable[[Path], object]:
    """Replace arrays of the golden file; None takes one away."""

    def replace(folder: Path) -> None:
        with np.load(folder / "golden.npz") as file:
            kept = {name: file[name] for name in file} | arrays
        np.savez(folder / "golden.npz", **{k: v for k, v in kept.items() if v is not None})

    return replace


def card(text: str) -> Callable[[Path], object]:
    return write("model_card.json", text)


LACKS = "lacks a name or thresholds"
WRONG = np.eye(10, dtype=np.float32)[::-1]


@pytest.mark.parametrize(
    ("alter", "says"),
    [
        (card(""), LACKS),
        (card("[]"), LACKS),
        (card("{}"), LACKS),
        (card('{"name": "digits"}'), LACKS),
        (card('{"name": "digits", "thresholds": {"digit_score": 0.5}}'), LACKS),
        (card('{"name": "x", "thresholds": {"digit_score": "?", "confidence": 0}}'), LACKS),
        (card('{"thresholds": {"digit_score": 0, "confidence": 0}}'), LACKS),
        (delete("saved_model.pb"), "TensorFlow can't load it"),
        (write("saved_model.pb", "no model"), "TensorFlow can't load it"),
        (delete("golden.npz"), "the self-test failed"),
        (write("golden.npz", "no archive"), "the self-test failed"),
        (golden(digit_score=None), "the self-test failed"),
        (golden(digit_score=np.ones(3)), "the self-test failed"),
        (golden(images=np.zeros((10, 28), np.uint8)), "the self-test failed"),
        (golden(images=np.zeros((9, 28, 28), np.uint8)), "does not fit the model"),
        (
            golden(
                images=np.zeros((0, 28, 28), np.uint8),
                probabilities=np.zeros((0, 10)),
                digit_score=np.zeros(0),
            ),
            "does not fit the model",
        ),
        (golden(probabilities=WRONG), "does not answer its golden inputs"),
        (golden(digit_score=np.full(10, 0.99)), "does not answer its golden inputs"),
        (golden(digit_score=np.full(10, np.nan)), "does not answer its golden inputs"),
    ],
    ids=str,
)
def test_what_its_manifest_lists_and_is_wrong_all_the_same(
    version: Path, alter: Callable[[Path], object], says: str
) -> None:
    alter(version)
    write_manifest(version)
    with pytest.raises(ModelError, match=says):
        load(version)


def other_name(tf: Any, images: Any) -> dict[str, Any]:
    return {"logits": tf.cast(images[:, 0, :10], tf.float32)}


def other_type(tf: Any, images: Any) -> dict[str, Any]:
    rows = tf.cast(images[:, 0], tf.float64)
    return {"probabilities": rows[:, :10], "digit_score": rows[:, 10]}


def other_rank(tf: Any, images: Any) -> dict[str, Any]:
    rows = tf.cast(images[:, 0], tf.float32)
    return {"probabilities": rows[:, :10], "digit_score": rows[:, 10:11]}


def not_finite(tf: Any, images: Any) -> dict[str, Any]:
    rows = tf.cast(images[:, 0], tf.float32)
    return {"probabilities": rows[:, :10] / 0.0, "digit_score": rows[:, 10]}


def only_ten(tf: Any, images: Any) -> dict[str, Any]:
    with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(images)[0], 10)]):
        rows = tf.cast(images[:, 0], tf.float32)
    return {"probabilities": rows[:, :10], "digit_score": rows[:, 10]}


@pytest.mark.parametrize(
    ("serve", "says"),
    [
        (other_name, "takes or gives other tensors"),
        (other_type, "takes or gives other tensors"),
        (other_rank, "takes or gives other tensors"),
        (not_finite, "not finite"),
        (only_ten, "fails on a batch of 1"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_models_that_may_not_be_served(tmp_path: Path, serve: Any, says: str) -> None:
    folder = export_stand_in(tmp_path / "1", serve)
    with pytest.raises(ModelError, match=says):
        load(folder, max_batch=2)


def test_a_model_without_signatures(tmp_path: Path) -> None:
    import tensorflow as tf  # noqa: PLC0415 -- see conftest.py

    tf.saved_model.save(tf.Module(), str(tmp_path / "1"))
    card = {"name": "digits", "thresholds": {"digit_score": 0.5, "confidence": 0.5}}
    (tmp_path / "1" / "model_card.json").write_text(json.dumps(card))
    write_manifest(tmp_path / "1")
    with pytest.raises(ModelError, match="there is no signature 'serving_default'"):
        load(tmp_path / "1")


def test_batches_of_any_size_trace_nothing(stand_in: Path) -> None:
    from tensorflow.python.eager.context import context  # noqa: PLC0415 -- see conftest.py

    classifier = load(stand_in)
    known = set(context().list_function_names())
    for size in (1, 2, 7, 16, 17, 100):
        classifier(np.zeros((size, 28, 28), np.uint8))
    assert set(context().list_function_names()) == known

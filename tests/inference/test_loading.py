from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from app.errors import ModelError
from app.inference import loading
from app.inference.cascade import ACCURATE, FAST, unsure
from app.inference.classifier import Classifier, Scores, Thresholds
from app.inference.loading import _split_if_quicker, load, load_programs, verify
from app.inference.tflite import FLOAT32, INT8, PRECISIONS, SIZES, InterpreterPool, tflite_file
from app.settings import Settings
from tests.conftest import Image, export_stand_in, plain_stand_in, spoken, write_manifest

SHIPPED = Settings().models_dir / "7"
"""A cascade with programs of both precisions."""
WITHOUT_TFLITE = "TensorFlow Lite is not used"
"""The event that is logged where the signature answers alone."""


def events(logs: Iterable[Mapping[str, Any]]) -> list[str]:
    return [line["event"] for line in logs]


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


def test_scores_that_are_not_finite_are_an_error(loaded: Classifier) -> None:
    image = spoken(1)
    image[0, 12] = 255
    with pytest.raises(ModelError, match="not finite"):
        loaded(image[None])


@pytest.mark.parametrize(("precision", "tolerance"), [(FLOAT32, 1e-5), (INT8, 0.1)])
def test_each_precision_has_the_scores_of_the_signature(precision: str, tolerance: float) -> None:
    import tensorflow as tf  # noqa: PLC0415 -- see conftest.py

    with capture_logs() as logs:
        classifier = load(SHIPPED, precisions=(precision,))
    assert WITHOUT_TFLITE not in events(logs)
    images = np.load(SHIPPED / "golden.npz")["images"]
    unclear = images // 2 + np.roll(images, 1, axis=0) // 2
    threshold = classifier.card["cascade"]["threshold"]
    fast = InterpreterPool(tf.lite, tflite_file(SHIPPED, FAST, precision).read_bytes(), threads=1)
    asked = unsure(fast(unclear), threshold)
    assert 0 < asked.sum() < len(unclear)
    signatures = tf.saved_model.load(str(SHIPPED)).signatures
    # At the threshold a rounding decides which network answers; their answers may be far apart.
    same = asked == unsure(as_scores(signatures[FAST](images=unclear)), threshold)
    assert same.mean() > 0.8
    scores, expected = classifier(unclear), as_scores(signatures["serving_default"](images=unclear))
    assert scores[same] == pytest.approx(expected[same], abs=tolerance)


def as_scores(outputs: dict[str, Any]) -> Scores:
    """Return a signature's outputs as scores [n,11]."""
    probabilities, digit_score = outputs["probabilities"], outputs["digit_score"]
    return np.column_stack((probabilities.numpy(), digit_score.numpy()))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_programs_have_the_same_scores_without_tensorflow(precision: str) -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra `local` is not installed")
    images = np.load(SHIPPED / "golden.npz")["images"]
    unclear = images // 2 + np.roll(images, 1, axis=0) // 2
    every = np.concatenate([images, unclear])
    programs = load_programs(SHIPPED, precisions=(precision,))
    assert np.array_equal(programs(every), load(SHIPPED, precisions=(precision,))(every))


def test_programs_need_their_conversion(version: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra `local` is not installed")
    with pytest.raises(ModelError, match="names no conversion"):
        load_programs(version)


def test_the_shipped_cascade_has_each_network_in_each_precision() -> None:
    expected = {
        tflite_file(SHIPPED, network, precision).with_suffix(suffix)
        for network in (FAST, ACCURATE)
        for precision in PRECISIONS
        for suffix in (".tflite", ".npz")
    }
    assert set((SHIPPED / "assets.extra").iterdir()) == expected


def test_a_single_network_has_the_scores_of_the_signature() -> None:
    version = Settings().models_dir / "1"
    with capture_logs() as logs:
        classifier = load(version)
    assert WITHOUT_TFLITE not in events(logs)
    golden = loading.read_golden(version / "golden.npz")
    for count in (1, 5, len(golden.images)):
        assert classifier(golden.images[:count]) == pytest.approx(golden.scores[:count], abs=1e-4)


class Clock:
    """A clock that stands still but for what `advance` adds; in place of the module `time`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr(loading, "time", SimpleNamespace(perf_counter=lambda: self.seconds))

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize(
    ("microseconds", "fast", "accurate"),
    [
        ({FAST: (30, 10), ACCURATE: (200, 50)}, INT8, INT8),
        ({FAST: (27, 30), ACCURATE: (148, 161)}, FLOAT32, FLOAT32),
        ({FAST: (27, 10), ACCURATE: (148, 161)}, INT8, FLOAT32),
        ({FAST: (30, 28), ACCURATE: (200, 195)}, FLOAT32, FLOAT32),
    ],
    ids=["int8 is quicker", "float32 is quicker", "by network", "int8 is hardly quicker"],
)
def test_the_quicker_program_of_each_network_is_chosen_by_measured_times(
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    microseconds: dict[str, tuple[float, float]],
    fast: str,
    accurate: str,
) -> None:
    costs = {
        tflite_file(SHIPPED, network, precision).read_bytes(): cost
        for network, each in microseconds.items()
        for precision, cost in zip(PRECISIONS, each, strict=True)
    }

    class TimedPool(InterpreterPool):
        def __init__(self, tf: Any, model: bytes, **options: Any) -> None:
            super().__init__(tf, model, **options)
            self.cost, self.network = costs[model] / 1e6, model

        def __call__(self, images: Image) -> Scores:
            clock.advance(self.cost * len(images))
            called.append(self.network)
            return super().__call__(images)

    called: list[bytes] = []
    monkeypatch.setattr(loading, "InterpreterPool", TimedPool)
    with capture_logs() as logs:
        classifier = load(SHIPPED)
    (line,) = (log for log in logs if log["event"] == "programs chosen")
    assert (line[FAST], line[ACCURATE]) == (fast, accurate)
    for network, each in microseconds.items():
        assert line["microseconds"][network] == dict(zip(PRECISIONS, each, strict=True))
    called.clear()
    classifier(np.random.default_rng(0).integers(0, 256, (9, 28, 28), np.uint8))
    chosen = [(FAST, fast), (ACCURATE, accurate)]
    assert called == [tflite_file(SHIPPED, *program).read_bytes() for program in chosen]


@pytest.mark.parametrize("network", [FAST, ACCURATE])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_program_without_its_golden_scores_is_not_chosen(
    network: str, precision: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "7"))
    file = tflite_file(folder, network, precision).with_suffix(".npz")
    arrays = dict(np.load(file))
    np.savez(file, **(arrays | {"digit_score": arrays["digit_score"] + np.float32(0.01)}))
    write_manifest(folder)
    with capture_logs() as logs:
        load(folder)
    (rejected,) = (log for log in logs if log["event"] == "program rejected")
    assert f"{network}.{precision}.tflite" in rejected["reason"]
    assert "does not answer its golden inputs" in rejected["reason"]
    (line,) = (log for log in logs if log["event"] == "programs chosen")
    assert line[network] != precision
    assert set(line["microseconds"][network]) == set(PRECISIONS) - {precision}


def test_the_signature_is_used_where_a_network_has_no_program(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "7"))
    for precision in PRECISIONS:
        tflite_file(folder, ACCURATE, precision).write_bytes(b"no program")
    write_manifest(folder)
    with capture_logs() as logs:
        classifier = load(folder, max_batch=1)
    assert classifier.version == "7"
    assert logs[-1]["event"] == WITHOUT_TFLITE
    assert "'accurate'" in logs[-1]["reason"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.02, ["tflite"] * 2), (0.0095, ["tflite"] * 2), (0.005, ["signature"] * 2)],
    ids=["slower", "hardly quicker", "quicker"],
)
def test_full_batches_are_given_to_the_quicker(
    clock: Clock, seconds: float, expected: list[str]
) -> None:
    called: list[str] = []

    def taking(name: str, seconds: float) -> Classifier:
        def compute(images: Image) -> Scores:
            called.append(name)
            clock.advance(seconds)
            return np.full((len(images), 11), 0.1, np.float32)

        return Classifier("digits", "1", {}, Thresholds(0, 0), compute)

    full = np.zeros((SIZES[0], 28, 28), np.uint8)
    classifier = _split_if_quicker(full, taking("signature", seconds), taking("tflite", 0.01))
    called.clear()
    classifier(full)
    classifier(full)
    classifier(full[:-1])
    assert called == [*expected, "tflite"]


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
    """Replace the program by another graph's."""
    export_stand_in(folder / "other", all_alike, tflite=True)
    shutil.copy(folder / "other" / PROGRAM, folder / PROGRAM)
    shutil.rmtree(folder / "other")


def all_alike(tf: Any, images: Any) -> dict[str, Any]:
    count = tf.shape(images)[0]
    return {"probabilities": tf.fill([count, 10], 0.1), "digit_score": tf.fill([count], 0.5)}


PROGRAM = "assets.extra/serving_default.float32.tflite"
PROGRAM_GOLDEN = "assets.extra/serving_default.float32.npz"


def program_golden(**arrays: Any) -> Callable[[Path], object]:
    """Replace arrays of the program's own golden file."""

    def record(folder: Path) -> None:
        with np.load(folder / PROGRAM_GOLDEN) as file:
            kept = {name: file[name] for name in file}
        np.savez(folder / PROGRAM_GOLDEN, **(kept | arrays))

    return record


@pytest.mark.parametrize(
    ("alter", "is_tflite"),
    [
        (lambda folder: None, True),
        (with_card(converted_from="0" * 64), False),
        (write(PROGRAM, "no program"), False),
        (of_another_graph, False),
        (delete(PROGRAM), False),
        (program_golden(digit_score=np.full(10, 0.9)), False),
        (write(PROGRAM_GOLDEN, "no archive"), False),
        (delete(PROGRAM_GOLDEN), False),
    ],
    ids=[
        "as exported",
        "the card names another graph",
        "no program",
        "another graph's program",
        "program gone",
        "other golden scores",
        "golden file damaged",
        "golden file gone",
    ],
)
def test_a_program_is_used_if_it_is_that_of_the_graph(
    plain: Path, tmp_path: Path, alter: Callable[[Path], object], is_tflite: bool
) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "7"))
    alter(folder)
    write_manifest(folder)
    with capture_logs() as logs:
        classifier = load(folder, max_batch=2)
    assert (WITHOUT_TFLITE not in events(logs)) == is_tflite
    assert classifier(spoken(4)[None])[0, :10].argmax() == 4


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with a TensorFlow Lite file; copy it to alter it."""
    return export_stand_in(tmp_path_factory.mktemp("plain") / "1", plain_stand_in, tflite=True)


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

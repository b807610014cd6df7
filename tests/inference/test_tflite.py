from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from app.errors import ModelError
from app.inference.classifier import Compute, Scores
from app.inference.tflite import SIZES, InterpreterPool, split_by_batch_size, tflite_file
from tests.conftest import Image, export_stand_in, plain_stand_in, spoken


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> InterpreterPool:
    import tensorflow as tf  # noqa: PLC0415 -- see conftest.py

    folder = tmp_path_factory.mktemp("models") / "1"
    export_stand_in(folder, plain_stand_in, tflite=True)
    model = tflite_file(folder, "serving_default", "float32").read_bytes()
    return InterpreterPool(tf.lite, model, threads=1)


def different(count: int) -> Image:
    """Return `count` images, no two alike."""
    return np.stack([spoken(i % 10, share=0.5 + i / 200, score=i / 100) for i in range(count)])


@pytest.mark.parametrize("count", [*range(1, 8), 15, 16, 17, 37, 64])
def test_answers_are_in_the_order_of_the_images(program: InterpreterPool, count: int) -> None:
    scores = program(different(count))
    score, probabilities = scores[:, 10], scores[:, :10]
    assert score == pytest.approx([i / 100 for i in range(count)], abs=0.003)
    assert probabilities.shape == (count, 10)
    assert probabilities.argmax(axis=1).tolist() == [i % 10 for i in range(count)]
    expected = [0.5 + i / 200 for i in range(count)]
    assert probabilities.max(axis=1) == pytest.approx(expected, abs=0.02)


def test_threads_do_not_see_each_others_images(program: InterpreterPool) -> None:
    def labels_for(label: int) -> set[int]:
        images = np.stack([spoken(label)] * 21)
        return {int(best) for _ in range(50) for best in program(images)[:, :10].argmax(axis=1)}

    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(labels_for, range(8))] == [{label} for label in range(8)]


def test_every_size_is_laid_out_before_it_is_asked_for(program: InterpreterPool) -> None:
    assert all(program._idle[size] for size in SIZES)


def test_a_file_that_can_not_be_run() -> None:
    import tensorflow as tf  # noqa: PLC0415 -- see conftest.py

    with pytest.raises(ModelError, match="can't run it"):
        InterpreterPool(tf.lite, b"no program", threads=1)


def test_a_size_is_laid_out_when_it_is_needed(program: InterpreterPool) -> None:
    import tensorflow as tf  # noqa: PLC0415 -- see conftest.py

    lazy = InterpreterPool(tf.lite, program._interpreter.args[1], threads=1, sizes=())
    assert not any(lazy._idle.values())
    assert np.array_equal(lazy(different(3)), program(different(3)))
    assert [size for size in SIZES if lazy._idle[size]] == [2, 1]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, {"rest": 1}), (15, {"rest": 15}), (16, {"full": 16}), (37, {"full": 32, "rest": 5})],
)
def test_full_batches_are_split_off(count: int, sizes: dict[str, int]) -> None:
    seen: dict[str, int] = {}

    def called(name: str) -> Compute:
        def compute(images: Image) -> Scores:
            seen[name] = len(images)
            return np.repeat(images[:, 0, :1].astype(np.float32), 11, axis=1)

        return compute

    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, 0] = range(count)
    scores = split_by_batch_size(called("full"), called("rest"))(images)
    assert seen == sizes
    assert scores.tolist() == [[index] * 11 for index in range(count)]

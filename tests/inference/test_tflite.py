from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from app.errors import ModelError
from app.inference.tflite import SIZES, Compute, Program, by_size, cascade
from tests.conftest import Image, export_stand_in, plain_stand_in, spoken


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    import tensorflow as tf  # noqa: PLC0415 -- see conftest.py

    folder = tmp_path_factory.mktemp("models") / "1"
    export_stand_in(folder, plain_stand_in, compiled=True)
    model = (folder / "assets.extra" / "serving_default.tflite").read_bytes()
    return Program(tf, model, threads=1)


def asked(count: int) -> Image:
    """So many images, each another."""
    return np.stack([spoken(i % 10, share=0.5 + i / 200, score=i / 100) for i in range(count)])


@pytest.mark.parametrize("count", [*range(1, 8), 15, 16, 17, 37, 64])
def test_answers_are_in_the_order_of_the_images(program: Program, count: int) -> None:
    rows = program(asked(count))
    score, probabilities = rows[:, 10], rows[:, :10]
    assert score == pytest.approx([i / 100 for i in range(count)], abs=0.003)
    assert probabilities.shape == (count, 10)
    assert probabilities.argmax(axis=1).tolist() == [i % 10 for i in range(count)]
    expected = [0.5 + i / 200 for i in range(count)]
    assert probabilities.max(axis=1) == pytest.approx(expected, abs=0.02)


def test_threads_do_not_see_each_others_images(program: Program) -> None:
    def told(label: int) -> set[int]:
        images = np.stack([spoken(label)] * 21)
        return {int(one) for _ in range(50) for one in program(images)[:, :10].argmax(axis=1)}

    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(told, range(8))] == [{label} for label in range(8)]


def test_every_size_is_laid_out_before_it_is_asked_for(program: Program) -> None:
    assert all(program._idle[size] for size in SIZES)


def test_what_is_no_program() -> None:
    import tensorflow as tf  # noqa: PLC0415 -- see conftest.py

    with pytest.raises(ModelError, match="can't run it"):
        Program(tf, b"no program", threads=1)


Floats = NDArray[np.float32]


def test_the_careful_one_is_asked_where_the_quick_one_is_not_sure() -> None:
    seen: list[list[int]] = []

    def quick(images: Image) -> Floats:
        """Sure of its label where both figures say so."""
        rows = np.zeros((len(images), 11), np.float32)
        rows[:, [0, 10]] = images[:, 0, :2] / np.float32(100)
        rows[:, 1] = 1 - rows[:, 0]
        return rows

    def careful(images: Image) -> Floats:
        seen.append(images[:, 0, 2].tolist())
        return np.full((len(images), 11), 0.25, np.float32)

    images = np.zeros((4, 28, 28), np.uint8)
    images[:, 0, 0] = 99, 99, 80, 1  # the probability of the first label, of two
    images[:, 0, 1] = 99, 80, 99, 99  # the digit score
    images[:, 0, 2] = range(4)
    both = cascade(quick, careful, 0.9)
    rows = both(images)
    assert seen == [[1, 2]]
    assert rows[:, 10] == pytest.approx([0.99, 0.25, 0.25, 0.99])
    assert rows[:, :10].max(axis=1) == pytest.approx([0.99, 0.25, 0.25, 0.99])
    both(images[:1])
    assert seen == [[1, 2]]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, {"small": 1}), (15, {"small": 15}), (16, {"large": 16}), (37, {"large": 32, "small": 5})],
)
def test_what_fills_batches_goes_to_the_large_one(count: int, sizes: dict[str, int]) -> None:
    seen: dict[str, int] = {}

    def called(name: str) -> Compute:
        def compute(images: Image) -> Floats:
            seen[name] = len(images)
            return np.repeat(images[:, 0, :1].astype(np.float32), 11, axis=1)

        return compute

    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, 0] = range(count)
    rows = by_size(called("large"), called("small"))(images)
    assert seen == sizes
    assert rows.tolist() == [[index] * 11 for index in range(count)]

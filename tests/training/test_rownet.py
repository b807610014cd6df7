from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from app.inference.rownet import GOLDEN_FILE, NET_FILE, RowNet
from app.vision.segment import segment
from app.vision.strip import STRIP_HEIGHT
from tests.serving.test_reader import row
from tests.training.test_strips import hands
from training import rownet
from training.corpora import strips

__all__ = ["hands"]

TEXTS = ["12", "345", "9", ""]


@pytest.fixture(autouse=True)
def _plain_policy() -> Iterator[None]:
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="module")
def pool() -> strips.Strips:
    texts = [text for text in TEXTS if text]
    return strips.Strips([segment(row(text)).strip() for text in texts], texts)


def test_a_batch_has_strips_of_one_width(
    pool: strips.Strips, hands: strips.Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rownet, "BATCH", 5)
    monkeypatch.setattr(rownet, "SORTED", 2)
    images, texts = next(rownet.batches(pool, hands, np.random.default_rng(1)))
    assert images.shape[:2] == (5, STRIP_HEIGHT)
    assert images.shape[2] % 8 == 0
    assert images.any(axis=(1, 2)).all()
    assert all(images.shape[2] // 2 > 2 * len(text) for text in texts)


def test_texts_are_sparse_and_none_is_empty() -> None:
    indices, values, shape = rownet.sparse(TEXTS)
    assert values.tolist() == [1, 2, 3, 4, 5, 9, 0]
    assert indices[:, 0].tolist() == [0, 0, 1, 1, 1, 2, 3]
    assert shape.tolist() == [4, 3]


def test_greedy_texts_have_an_equal_digit_twice_only_across_none() -> None:
    best = [[10, 1, 1, 10, 1, 7], [10, 10, 10, 10, 10, 10]]
    logits = np.eye(11, dtype=np.float32)[np.array(best)]
    assert rownet.greedy(logits) == ["117", ""]


def test_a_step_teaches_and_the_average_follows(pool: strips.Strips) -> None:
    keras.utils.set_random_seed(1)
    teacher = rownet.Teacher(rownet.network(), rownet.WARM_UP + 100)
    images = rownet.together([*pool.images, pool.images[0] * 0])
    before = [weight.copy() for weight in teacher.average.get_weights()]
    empty = np.array([not text for text in TEXTS])
    losses = [float(teacher.step(images, *rownet.sparse(TEXTS), empty)) for _ in range(12)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    after = teacher.average.get_weights()
    assert any((one != same).any() for one, same in zip(after, before, strict=True))


def test_an_exported_net_answers_as_the_network(tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)
    net = rownet.network()
    rownet.export(net, tmp_path)
    exported = RowNet(tf.lite, (tmp_path / NET_FILE.name).read_bytes())
    with np.load(tmp_path / GOLDEN_FILE.name) as golden:
        images, columns = golden["strips"], golden["columns"]
    exported.check(images, columns)
    shares = np.asarray(tf.nn.softmax(net(images, training=False)))
    assert shares == pytest.approx(columns, abs=0.01)

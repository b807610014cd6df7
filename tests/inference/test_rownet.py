from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from app.errors import ModelError
from app.inference import ctc, loading
from app.inference.grammar import Grammar
from app.inference.rownet import NET_FILE, STRIP_HEIGHT, WIDTHS, RowNet
from app.inference.weights import shipped_weights
from app.vision import strip as strips
from app.vision.segment import segment
from tests.serving.test_reader import row


@pytest.fixture(scope="module")
def net() -> RowNet:
    return loading.load_row_net()


def test_vision_and_inference_mean_the_same_strip() -> None:
    assert STRIP_HEIGHT == strips.STRIP_HEIGHT
    assert WIDTHS[-1] == strips.MAX_STRIP


@pytest.mark.parametrize("text", ["20", "86420", "35", "2604"])
def test_a_row_is_read_without_cuts(net: RowNet, text: str) -> None:
    columns = net(segment(row(text)).strip())
    assert ctc.search(columns, Grammar(), 1) == [text]
    assert columns.sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_a_strip_of_any_width_has_an_answer(net: RowNet) -> None:
    rng = np.random.default_rng(1)
    for width in (1, 9, 64, 65, 333, WIDTHS[-1]):
        strip = rng.integers(0, 256, (STRIP_HEIGHT, width), np.uint8)
        columns = net(strip)
        assert columns.shape == (-(-width // 2), 11)
        assert np.isfinite(columns).all()


def test_an_answer_does_not_depend_on_the_strip_before(net: RowNet) -> None:
    wide, narrow = (segment(row(text)).strip() for text in ("8642", "20"))
    alone = net(narrow)
    net(wide)
    assert (net(narrow) == alone).all()


def test_threads_get_the_same_answers(net: RowNet) -> None:
    some = [segment(row(text)).strip() for text in ("86420", "12345", "67890", "55555")] * 4
    expected = [net(strip) for strip in some]
    with ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(net, some), expected, strict=True):
            assert (found == alone).all()


def test_a_net_without_its_golden_answers_is_refused(net: RowNet) -> None:
    strip = segment(row("20")).strip()
    wrong = net(strip)[:, ::-1]
    with pytest.raises(ModelError, match="golden"):
        net.check(strip[None], wrong[None])


def test_a_broken_file_is_refused() -> None:
    with pytest.raises(ModelError, match="can't be run"):
        RowNet(tf.lite, NET_FILE.read_bytes()[:1000])


def test_weights_of_another_net_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(shipped_weights(), row_net="0" * 64)
    monkeypatch.setattr(loading, "shipped_weights", lambda: other)
    with pytest.raises(ModelError, match="another row net"):
        loading.load_row_net()

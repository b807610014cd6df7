from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.vision.normalize import normalize
from app.vision.strip import STRIP_HEIGHT
from tests.serving.test_reader import row
from training.corpora import strips
from training.corpora.data import Digits


@pytest.fixture(scope="module")
def hands() -> strips.Hands:
    images = np.stack([normalize(row(str(label))).digit for label in range(10)])
    digits = Digits(images, np.arange(10, dtype=np.uint8))
    return strips.Hands(digits, [digits], digits)


def test_a_pool_may_be_made_in_parts(hands: strips.Hands) -> None:
    whole = strips.made(hands, count=12, seed=3)
    parts = [strips.made(hands, count=6, seed=3, first=first) for first in (0, 6)]
    assert whole.texts == parts[0].texts + parts[1].texts
    for one, same in zip(whole.images, parts[0].images + parts[1].images, strict=True):
        assert (one == same).all()


def test_a_pool_is_read_as_it_was_written(hands: strips.Hands, tmp_path: Path) -> None:
    some = strips.made(hands, count=8, seed=1)
    strips.write(some, tmp_path / "000.npz")
    strips.write(strips.made(hands, count=3, seed=2), tmp_path / "001.npz")
    found = strips.read(tmp_path)
    assert len(found.texts) == len(found.images) == 11
    assert found.texts[:8] == some.texts
    for one, same in zip(some.images, found.images, strict=False):
        assert (one == same).all()
        assert one.shape[0] == STRIP_HEIGHT


def test_rows_have_up_to_ten_digits_or_are_no_number(hands: strips.Hands) -> None:
    texts = strips.made(hands, count=60, seed=5).texts
    assert "" in texts
    assert max(map(len, texts)) <= 10
    assert set("".join(texts)) <= set("0123456789")


def test_the_kinds_shares_are_whole() -> None:
    assert sum(strips.KINDS.values()) == pytest.approx(1)
    assert sum(strips.SOURCES) == pytest.approx(1)

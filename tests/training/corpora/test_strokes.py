from pathlib import Path

import numpy as np
import pytest

from training.corpora import canvases, strokes


def test_every_digit_is_drawn_as_often_as_another_but_where_hands_differ() -> None:
    names, weights = strokes.names(), strokes.weights()
    assert {name[0] for name in names} == set("0123456789")
    each = np.bincount([int(name[0]) for name in names], weights)
    assert sum(each) == pytest.approx(1)
    expected = [strokes.MORE.get(digit, 1.0) for digit in range(10)]
    np.testing.assert_allclose(each / each[0], expected)


@pytest.mark.parametrize("name", strokes.names())
def test_every_way_of_writing_leaves_ink(name: str) -> None:
    rng = np.random.default_rng(3)
    ink = strokes.drawn(name, rng)
    assert ink.max() == 255
    assert strokes.INKED * 0.7 < max(ink.shape) < strokes.INKED * 1.3
    digit = canvases.normalized(ink, rng)
    assert digit.shape == (28, 28)
    assert digit.max() > 100


@pytest.mark.parametrize("kind", strokes.FLAGGED)
def test_a_flag_rises_to_the_top_of_a_one(kind: str) -> None:
    for seed in range(20):
        first = strokes.flagged(kind, np.random.default_rng(seed))[0]
        flag = first[: len(first) // 3]
        left, down = -flag[0, 0], flag[0, 1]
        assert left > 0
        assert down > 0.4 * left  # 25°, less what a hand jitters


def test_a_pool_is_decided_by_its_seed() -> None:
    made, again = strokes.pool(count=30, seed=1), strokes.pool(count=30, seed=1)
    assert np.array_equal(made.digits, again.digits)
    assert not np.array_equal(made.digits, strokes.pool(count=30, seed=2).digits)
    names = made.kind_names[made.kinds]
    assert [int(name[0]) for name in names] == made.labels.tolist()


def test_the_command_writes_a_pool(tmp_path: Path) -> None:
    out = tmp_path / "pool.npz"
    strokes.main(["--count", "12", "--out", str(out)])
    with np.load(out) as pool:
        assert pool["digits"].shape == (12, 28, 28)
        assert set(pool) == {"digits", "labels", "kinds", "kind_names"}

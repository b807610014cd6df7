from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training import export
from training.corpora import augment, data, mixture

RNG = np.random.default_rng(0)


def some(n: int, level: int) -> data.Digits:
    """Digits whose gray level says where they come from."""
    images = np.full((n, 28, 28), level, np.uint8)
    return data.Digits(images, RNG.integers(0, 10, n).astype(np.uint8))


CLEAN = some(64, 40)
POOLS = mixture.Pools(some(7, 120), np.full((5, 28, 28), 200, np.uint8))


def an_epoch(**how: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    batches = mixture.epoch_of(CLEAN, POOLS, **{"seed": 1, "epoch": 0, "batch_size": 16} | how)
    return [(images.numpy(), labels.numpy()) for images, labels in batches]


def test_every_batch_has_its_shares() -> None:
    batches = an_epoch()
    assert len(batches) == 4
    for images, labels in batches:
        assert images.shape == (16 + 8 + 6 + 8, 28, 28, 1)
        assert images.min() >= 0
        assert images.max() <= 1
        assert (labels[:-8] >= 0).all()
        assert (labels[-8:] == mixture.NO_DIGIT).all()
        middle = images[:, 14, 14, 0] * 255
        np.testing.assert_allclose(middle[:16], 40, atol=1)
        np.testing.assert_allclose(middle[24:30], 120, atol=1)
        np.testing.assert_allclose(middle[32:], 200, atol=1)


def test_every_clean_digit_comes_once() -> None:
    labels = np.concatenate([labels[:16] for _, labels in an_epoch()])
    assert np.array_equal(np.sort(labels), np.sort(CLEAN.labels))


def test_seed_and_epoch_decide_everything() -> None:
    first, again = an_epoch(), an_epoch()
    for (images, labels), (same_images, same_labels) in zip(first, again, strict=True):
        assert np.array_equal(images, same_images)
        assert np.array_equal(labels, same_labels)
    assert not np.array_equal(first[0][0], an_epoch(epoch=1)[0][0])
    assert not np.array_equal(first[0][0], an_epoch(seed=2)[0][0])


def test_pools_are_read_from_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", digits=POOLS.scenes.images, labels=POOLS.scenes.labels)
    np.savez(tmp_path / "o.npz", digits=POOLS.outliers)
    pools = mixture.read(tmp_path / "s.npz", tmp_path / "o.npz")
    assert np.array_equal(pools.scenes.labels, POOLS.scenes.labels)
    assert np.array_equal(pools.outliers, POOLS.outliers)


@pytest.mark.parametrize("missing", ["s.npz", "o.npz"])
def test_a_missing_pool_is_a_clear_error(missing: str, tmp_path: Path) -> None:
    for name in {"s.npz", "o.npz"} - {missing}:
        np.savez(tmp_path / name, digits=POOLS.outliers, labels=np.zeros(5, np.uint8))
    with pytest.raises(data.DataError, match="no pool"):
        mixture.read(tmp_path / "s.npz", tmp_path / "o.npz")


def test_half_of_the_clean_digits_are_bent() -> None:
    strokes = np.repeat(export.golden_images()[:1], 64, axis=0)
    digits = data.Digits(strokes, np.zeros(64, np.uint8))
    still = {"rotation_degrees": 0, "shear": 0, "scale": 0, "stretch": 0, "shift_pixels": 0}
    batches = mixture.epoch_of(
        digits, POOLS, seed=1, epoch=0, batch_size=16, clean=augment.Affine(**still)
    )
    for images, _ in batches:
        moved = np.abs(images.numpy()[:16, ..., 0] * 255 - strokes[:16]).max(axis=(1, 2))
        assert (moved[:8] > 5).all()
        assert (moved[8:] < 1).all()

import numpy as np
import tensorflow as tf

from training import export
from training.corpora import augment

IMAGES = export.golden_images()[:20, ..., None] / np.float32(255)
SEED = tf.constant([1, 2])


def test_nothing_moves_without_freedom() -> None:
    still = augment.Affine(rotation_degrees=0, shear=0, scale=0, stretch=0, shift_pixels=0)
    moved = augment.affine(IMAGES, still, seed=SEED).numpy()
    np.testing.assert_allclose(moved, IMAGES, atol=1e-4)


def test_images_move_each_in_its_own_way_and_stay_in_range() -> None:
    same = np.repeat(IMAGES[:1], 20, axis=0)
    moved = augment.affine(same, augment.Affine(), seed=SEED).numpy()
    assert moved.shape == same.shape
    assert moved.dtype == np.float32
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert len({image.tobytes() for image in moved}) == 20


def test_a_seed_decides_everything() -> None:
    once = augment.affine(IMAGES, augment.Affine(), seed=SEED).numpy()
    again = augment.affine(IMAGES, augment.Affine(), seed=SEED).numpy()
    other = augment.affine(IMAGES, augment.Affine(), seed=tf.constant([1, 3])).numpy()
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


def test_a_turn_is_about_the_middle() -> None:
    dot = np.zeros((50, 28, 28, 1), np.float32)
    dot[:, 13:15, 13:15] = 1
    turn = augment.Affine(rotation_degrees=90, shear=0, scale=0, stretch=0, shift_pixels=0)
    moved = augment.affine(dot, turn, seed=SEED).numpy()[..., 0]
    rows = (moved * np.arange(28)[:, None]).sum(axis=(1, 2)) / moved.sum(axis=(1, 2))
    np.testing.assert_allclose(rows, 13.5, atol=0.05)

"""The mixture that a robust network learns from: clean and altered digits, scenes and outliers.

An epoch has every clean digit once, half of them bent a little. For each clean digit there are half
an altered array (`corruptions`), three eighths of a scene, normalized by `app.vision.normalize`
(`scenes`), and three sixteenths of an outlier, which is no digit (`outliers`). Every batch has
these shares.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.corpora import augment, corruptions, data

NO_DIGIT = -1
ALTERED, SCENES, OUTLIERS = 0.5, 0.375, 0.1875
"""Images for each clean digit."""
CLEAN = augment.Affine(rotation_degrees=12, shear=0.18, scale=0.12, stretch=0.1, shift_pixels=1.5)
BENT, BENT_PIXELS = 0.5, (0.3, 0.9)
"""Share of clean digits that are bent, and by how many pixels."""
SCENE_AMOUNT = 0.5
"""Share of `CLEAN` by which scenes are moved: they have geometry of their own."""


@dataclass(frozen=True, slots=True)
class Pools:
    """Scenes and outliers, made ahead: rendering a scene takes as long as learning from a dozen."""

    scenes: data.Digits
    outliers: NDArray[np.uint8]


def read(scenes: Path, outliers: Path) -> Pools:
    """Read the pools that `training.corpora.scenes` and `training.corpora.outliers` write.

    Raises:
        DataError: A file is missing or not a pool.
    """
    try:
        with np.load(scenes) as pool:
            rendered = data.Digits(pool["digits"], pool["labels"])
        with np.load(outliers) as pool:
            return Pools(rendered, pool["digits"])
    except (OSError, KeyError, ValueError) as error:
        raise data.DataError(f"no pool: {error}") from error


def epoch_of(
    digits: data.Digits,
    pools: Pools,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    clean: augment.Affine = CLEAN,
) -> Any:
    """Return one epoch: images float32 [n,28,28,1] in 0–1, labels int32 [n], −1 for outliers.

    Args:
        digits: The clean digits.
        pools: The scenes and outliers.
        seed: Seed of the run.
        epoch: Number of the epoch.
        batch_size: Clean digits in a batch; with the others a batch is about twice as large.
        clean: The distributions of the maps that clean digits are moved by.
    """
    rng = np.random.default_rng([seed, epoch])
    steps = len(digits) // batch_size
    shares = [int(batch_size * share) for share in (ALTERED, SCENES, OUTLIERS)]

    def rows(size: int, per_batch: int) -> NDArray[np.int64]:
        order = np.concatenate(
            [rng.permutation(size) for _ in range(-(-steps * per_batch // size))]
        )
        return order[: steps * per_batch].reshape(steps, per_batch)

    own = rows(len(digits), batch_size)
    altered, scenes, outliers = (
        rows(size, per_batch)
        for size, per_batch in zip(
            (len(digits), len(pools.scenes), len(pools.outliers)), shares, strict=True
        )
    )
    parts = (own, altered, scenes, outliers)
    amount = np.repeat([1.0, 0.0, SCENE_AMOUNT, 1.0], [part.shape[1] for part in parts])
    images = (digits.images, digits.images, pools.scenes.images, pools.outliers)
    none = np.full(len(pools.outliers), NO_DIGIT)
    labels = (digits.labels, digits.labels, pools.scenes.labels, none)

    def batches() -> Any:
        for step, places in enumerate(zip(*parts, strict=True)):
            taken = [image[place] for image, place in zip(images, places, strict=True)]
            taken[0] = _partly_bent(taken[0], rng)
            taken[1] = corruptions.some(taken[1], rng)
            named = [label[place] for label, place in zip(labels, places, strict=True)]
            yield (
                np.concatenate(taken),
                np.concatenate(named).astype(np.int32),
                (np.array([seed, epoch * steps + step], np.int32)),
            )

    def move(x: Any, y: Any, seed: Any) -> tuple[Any, Any]:
        x = tf.cast(x, tf.float32)[..., None] / 255.0
        return augment.affine(x, clean, seed=seed, amount=amount), y

    n = len(amount)
    signature = (
        tf.TensorSpec([n, 28, 28], tf.uint8),
        tf.TensorSpec([n], tf.int32),
        tf.TensorSpec([2], tf.int32),
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return dataset.map(move).prefetch(4).with_options(untuned())


def untuned() -> Any:
    """Return options without autotuning: its thread delays an epoch's end by half a minute."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def _partly_bent(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    part = int(len(images) * BENT)
    levels = [
        corruptions.bent(image, rng, rng.uniform(*BENT_PIXELS))
        for image in images[:part].astype(np.float32)
    ]
    return np.concatenate([np.rint(levels).astype(np.uint8), images[part:]])

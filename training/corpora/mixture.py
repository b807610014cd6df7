"""The mixture that a robust network learns from: digits clean and altered, scenes, hands, outliers.

An epoch has every clean digit once, half of them bent a little. For each clean digit there are half
an altered array (`corruptions`), three eighths of a scene, normalized by `app.vision.normalize`
(`scenes`), half a digit of another hand (`fonts`, `strokes`), if there are any, a quarter of them
altered, and half an outlier, which is no digit (`outliers`), altered as often. Every batch has
these shares.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.corpora import augment, corruptions, data

NO_DIGIT = -1
ALTERED, SCENES, HANDS, OUTLIERS = 0.5, 0.375, 0.5, 0.5
"""Images for each clean digit."""
ALTERED_OF_OTHERS = 0.25
"""Share of other hands' digits and of outliers that are altered: noise is no sign of a digit."""
CLEAN = augment.Affine(rotation_degrees=12, shear=0.18, scale=0.12, stretch=0.1, shift_pixels=1.5)
BENT, BENT_PIXELS = 0.5, (0.3, 0.9)
"""Share of clean digits that are bent, and by how many pixels."""
SCENE_AMOUNT = 0.5
"""Share of `CLEAN` by which scenes and other hands are moved: they have geometry of their own."""
NONE = data.Digits(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.uint8))


@dataclass(frozen=True, slots=True)
class Pools:
    """What is made ahead: rendering a scene takes as long as learning from a dozen.

    Attributes:
        scenes: Scenes of clean digits.
        outliers: [n,28,28], images that are no digits.
        hands: Digits of other hands.
    """

    scenes: data.Digits
    outliers: NDArray[np.uint8]
    hands: data.Digits = NONE


def read(scenes: Path, outliers: Path, hands: Iterable[Path] = ()) -> Pools:
    """Read the pools that the commands of `training.corpora` write; of `hands`, several as one.

    Raises:
        DataError: A file is missing or not a pool.
    """
    try:
        with np.load(outliers) as pool:
            unknown = pool["digits"]
        others = [read_digits(file) for file in hands]
        return Pools(read_digits(scenes), unknown, together(others) if others else NONE)
    except (OSError, KeyError, ValueError) as error:
        raise data.DataError(f"no pool: {error}") from error


def read_digits(file: Path) -> data.Digits:
    """Read the digits and labels of a pool."""
    with np.load(file) as pool:
        return data.Digits(pool["digits"], pool["labels"])


def together(parts: list[data.Digits]) -> data.Digits:
    """Join sets of digits."""
    return data.Digits(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


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
        pools: The scenes, hands and outliers.
        seed: Seed of the run.
        epoch: Number of the epoch.
        batch_size: Clean digits in a batch; with the others a batch is about twice as large.
        clean: The distributions of the maps that clean digits are moved by.
    """
    rng = np.random.default_rng([seed, epoch])
    steps = len(digits) // batch_size
    hands_share = HANDS if len(pools.hands) else 0.0
    shares = [int(batch_size * share) for share in (ALTERED, SCENES, hands_share, OUTLIERS)]
    hands_altered, outliers_altered = (int(share * ALTERED_OF_OTHERS) for share in shares[2:])

    def rows(size: int, per_batch: int) -> NDArray[np.int64]:
        if not per_batch:
            return np.zeros((steps, 0), np.int64)
        order = np.concatenate(
            [rng.permutation(size) for _ in range(-(-steps * per_batch // size))]
        )
        return order[: steps * per_batch].reshape(steps, per_batch)

    own = rows(len(digits), batch_size)
    sizes = (len(digits), len(pools.scenes), len(pools.hands), len(pools.outliers))
    others = [rows(size, per_batch) for size, per_batch in zip(sizes, shares, strict=True)]
    parts = (own, *others)
    moved = [1.0, 0.0, SCENE_AMOUNT, SCENE_AMOUNT, 1.0]
    amount = np.repeat(moved, [part.shape[1] for part in parts])
    images = (
        digits.images,
        digits.images,
        pools.scenes.images,
        pools.hands.images,
        pools.outliers,
    )
    none = np.full(len(pools.outliers), NO_DIGIT)
    labels = (digits.labels, digits.labels, pools.scenes.labels, pools.hands.labels, none)

    def batches() -> Any:
        for step, places in enumerate(zip(*parts, strict=True)):
            taken = [image[place] for image, place in zip(images, places, strict=True)]
            taken[0] = _partly_bent(taken[0], rng)
            taken[1] = corruptions.some(taken[1], rng)
            for part, altered in ((taken[3], hands_altered), (taken[4], outliers_altered)):
                if altered:
                    part[:altered] = corruptions.some(part[:altered], rng)
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

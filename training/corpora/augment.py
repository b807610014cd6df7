"""Augmentation: one random affine map an image, as another writer might have written it.

It runs inside tf.data on whole batches; one `ImageProjectiveTransformV3` per batch costs about as
much as copying it. Source: Simard, Steinkraus and Platt 2003.
"""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

CENTRE = 13.5
"""Middle of 28 pixels, counted from the centre of the first."""


@dataclass(frozen=True, slots=True)
class Affine:
    """The half-widths of the uniform distributions that the maps are drawn from."""

    rotation_degrees: float = 11.0
    shear: float = 0.15
    scale: float = 0.1
    stretch: float = 0.06
    """Growth of one axis, and shrinking of the other."""
    shift_pixels: float = 1.5


def affine(images: Any, how: Affine, *, seed: Any, amount: Any = 1.0) -> Any:
    """Map each image about its centre by an affine map of its own: [n,28,28,1] float32.

    Args:
        images: float32 [n,28,28,1].
        how: The distributions of the maps.
        seed: int32 [2]; the same seed gives the same maps.
        amount: A number or [n], by which the maps are scaled; an image with 0 stays as it is.
    """
    n = tf.shape(images)[0]
    u = tf.random.stateless_uniform([6, n], seed, -1.0, 1.0) * tf.cast(amount, tf.float32)
    angle = u[0] * (how.rotation_degrees * 3.14159265 / 180)
    scale = tf.exp(u[1] * how.scale)
    stretch = tf.exp(u[2] * how.stretch)
    shear = u[3] * how.shear
    cos, sin = tf.cos(angle), tf.sin(angle)
    # output → input, as the op wants it: rotate · shear · scale
    a, b = cos * scale * stretch, (cos * shear - sin) * scale / stretch
    c, d = sin * scale * stretch, (sin * shear + cos) * scale / stretch
    dx, dy = u[4] * how.shift_pixels, u[5] * how.shift_pixels
    zero = tf.zeros_like(a)
    transforms = tf.stack(
        [
            *(a, b, CENTRE + dx - a * CENTRE - b * CENTRE),
            *(c, d, CENTRE + dy - c * CENTRE - d * CENTRE),
            *(zero, zero),
        ],
        axis=1,
    )  # [n,8]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=[28, 28],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )

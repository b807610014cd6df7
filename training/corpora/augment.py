"""The same digit as another hand might have written it: one random affine map an image.

Runs inside tf.data on whole batches; one `ImageProjectiveTransformV3` a batch costs about
as much as copying it (Simard, Steinkraus and Platt 2003 for why it pays on MNIST).
"""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

CENTRE = 13.5  # pixels: the middle of 28, counted from the centre of the first


@dataclass(frozen=True, slots=True)
class Affine:
    """How far a digit may move; each value is the half-width of a uniform distribution."""

    rotation_degrees: float = 11.0
    shear: float = 0.15
    scale: float = 0.1
    stretch: float = 0.06  # one axis grows by what the other shrinks
    shift_pixels: float = 1.5


def affine(images: Any, how: Affine, *, seed: Any, amount: Any = 1.0) -> Any:
    """Images float32 [n,28,28,1], each under its own random affine map about its centre.

    `seed` is an int32 [2] tensor: the same seed moves the same batch the same way. `amount`,
    one number or [n], scales how far: an image with 0 stays as it is.
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

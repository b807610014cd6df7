"""Which strokes are the digit, and which may be another.

Strokes belong together by how near and how alike they are. That alone does not tell the two strokes
of a 4 from a 1 beside a 7: strokes as large as the digit's own are offered apart as well, and the
classifier, which knows what digits look like, has the last word.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .components import Components, components_of
from .ink import Mask, Plane
from .rings import LEGIBLE, enclosed_by, is_slash, outline_of

NEAR = 0.22
"""Gap within a digit, as a share of its longer side."""
SPECK = 0.012
"""Weight of a speck, at most, as a share of the digit's."""
LARGE, HEAVY = 0.36, 0.1
"""Longer side and weight, at least, of what may be a digit beside another, such as an exponent, as
shares of the other's."""
LARGER, HEAVIER = 0.45, 0.15
"""The same where a frame was taken away, which may leave pieces."""
CLOSE, STACKED = 0.25, 0.5
"""Gap between the circles of an 8, at most, in heights of the smaller one, and what they share of
their widths, at least, as a share of the narrower one's."""
MAX_APART = 4
"""Strokes that are offered apart, at most; the weightiest."""


def chosen(
    strokes: Mask, ink: Plane, *, framed: bool = False
) -> tuple[Mask, list[tuple[Mask, bool]]]:
    """Keep the strokes [h,w] that belong together.

    These are the weightiest connected part, the parts near it, and those as large. A part that
    touches the border belongs to a neighbour, unless there is no other.

    Args:
        strokes: The mask, [h,w].
        ink: How much ink there is, [h,w].
        framed: Lines were taken away.

    Returns:
        The mask of the kept strokes, and where there are several that may each be a digit, their
        masks and whether they are kept.
    """
    components = components_of(strokes)
    if components.parts <= 1:
        return strokes, []
    labels, stats, middles = components
    height, width = strokes.shape
    weight = components.ink(ink)
    left, top, wide, high = stats[:, :4].T
    right, bottom = left + wide, top + high
    outer = (left == 0) | (top == 0) | (right == width) | (bottom == height)
    away = np.hypot(middles[:, 0] / width - 0.5, middles[:, 1] / height - 0.5)
    score = weight * np.where(outer, 0.06, 1.0) * (1 - 0.7 * away)
    score[0] = 0
    main = int(score.argmax())
    keep = np.zeros(len(stats), bool)
    keep[main] = True
    box = [left[main], top[main], right[main], bottom[main]]
    for _ in range(3):
        reach = max(box[2] - box[0], box[3] - box[1])
        apart = np.maximum(
            np.maximum(left - box[2], box[0] - right), np.maximum(top - box[3], box[1] - bottom)
        ).clip(0)
        total = weight[keep].sum()
        near = (apart <= NEAR * reach) & (weight > SPECK * total) & (outer <= outer[main])
        alike = (apart <= reach) & (weight > 0.35 * total) & ~outer
        more = (near | alike) & ~keep
        more[0] = False
        if not more.any():
            break
        keep |= more
        box = [left[keep].min(), top[keep].min(), right[keep].max(), bottom[keep].max()]
    large = keep | (outer <= outer[main])
    large &= is_like(stats, weight, main, framed=framed)
    if large.sum() > 1:  # a 0 keeps its slash
        for part in np.flatnonzero(large & enclosed_by(main, components)).tolist():
            large[part] = not is_slash(part, main, components)
    order = np.flatnonzero(large)
    order = order[np.argsort(-weight[order], kind="stable")][:MAX_APART]
    kept = np.asarray(keep[labels], np.uint8)
    if len(order) < 2 or (keep[order].all() and are_an_8(order, components)):
        return kept, []
    return kept, [(np.asarray(labels == part, np.uint8), bool(keep[part])) for part in order]


def are_an_8(parts: NDArray[np.intp], components: Components) -> bool:
    """Whether the parts are two rings, one so closely above the other as no two digits are."""
    if len(parts) != 2:
        return False
    above, below = components.stats[parts[np.argsort(components.stats[parts, 1])], :4].tolist()
    gap = below[1] - (above[1] + above[3])
    shared = min(above[0] + above[2], below[0] + below[2]) - max(above[0], below[0])
    return (
        gap <= CLOSE * min(above[3], below[3])
        and shared >= STACKED * min(above[2], below[2])
        and all(outline_of(part, components).is_ring for part in parts.tolist())
    )


def is_like(
    stats: NDArray[np.int32], weight: NDArray[np.float64], main: int, *, framed: bool
) -> NDArray[np.bool_]:
    """Whether each part is as large as one digit beside `main`, another, may be."""
    longer = stats[:, 2:4].max(axis=1)
    large, heavy = (LARGER, HEAVIER) if framed else (LARGE, HEAVY)
    like = (longer >= max(large * longer[main], LEGIBLE)) & (weight >= heavy * weight[main])
    like[0] = False
    return np.asarray(like)

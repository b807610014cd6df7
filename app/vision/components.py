"""The connected parts of a mask, and how much ink each has."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .ink import Mask, Plane


class Components(NamedTuple):
    """The connected parts of a mask; 0 is the ground.

    Attributes:
        labels: The part of each pixel, [h,w].
        stats: Left, top, width, height and pixels of each, the ground included, [n,5].
        centers: Column and row of the middle of each, [n,2].
    """

    labels: NDArray[np.int32]
    stats: NDArray[np.int32]
    centers: NDArray[np.float64]

    @property
    def parts(self) -> int:
        """How many there are beside the ground."""
        return len(self.stats) - 1

    def ink(self, plane: Plane) -> NDArray[np.float64]:
        """The ink of `plane` [h,w] in each part, [n]; 0 in the ground."""
        # Mostly ground, which would take most of the time.
        inked = np.flatnonzero(self.labels > 0)
        sums = np.bincount(self.labels.ravel()[inked], plane.ravel()[inked], len(self.stats))
        return np.asarray(sums, np.float64)


def components_of(mask: Mask) -> Components:
    """Find the connected parts of `mask` [h,w], 8-connected, in the order of their first pixels.

    Grana's algorithm: with statistics, OpenCV's default takes three times as long for the same.
    """
    found: Any = cv2.connectedComponentsWithStatsWithAlgorithm(mask, 8, cv2.CV_32S, cv2.CCL_GRANA)
    return Components(*found[1:])

"""Intervals and tests: what the difference of two versions on the same images is worth."""

from math import comb

import numpy as np

from app.inference.card import Interval

RESAMPLES = 10_000
SEED = 0


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the probability of a split this uneven between equally good versions.

    McNemar 1947, exact: of the images that just one version has right, each is the first's or the
    second's with equal chance.
    """
    n, least = only_first + only_second, min(only_first, only_second)
    return min(1.0, 2 * sum(comb(n, k) for k in range(least + 1)) / (1 << n))


def difference(only_first: int, only_second: int, images: int) -> Interval:
    """Return the 95% interval, by bootstrap, of how much greater the second's accuracy is."""
    shares = np.array([only_first, only_second, images - only_first - only_second]) / images
    drawn = np.random.default_rng(SEED).multinomial(images, shares, RESAMPLES)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / images, [0.025, 0.975])
    return float(low), float(high)

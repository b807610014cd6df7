"""Your own images among MNIST's: some to learn from, as often as they need, and some held back."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.corpora import folder
from training.corpora.data import DataError, Digits

LEAST = 20
"""Images with ink below which there is nothing to learn, and nothing to hold back."""
HELD_BACK = 5
"""Of so many images of a label, one is held back."""
SHARE = 0.25
"""Share of the digits to learn from that should be your own."""
MAX_REPEATS = 50
"""How often an image may be repeated in an epoch, each time moved and altered otherwise."""


@dataclass(frozen=True, slots=True)
class OwnImages:
    """Your own digits, normalized.

    Attributes:
        learned: Those to learn from.
        held_back: Those to measure with, a fifth of each label.
    """

    learned: Digits
    held_back: Digits

    @classmethod
    def read(cls, place: Path, seed: int) -> "OwnImages":
        """Read a folder of labelled images, and say what is odd about it.

        Raises:
            DataError: It can't be used, or has too few images.
        """
        found = folder.read(place)
        for word in found.words():
            print(word)
        digits = found.digits
        if len(digits) < LEAST:
            raise DataError(
                f"{place}: {len(digits)} usable images are too few to learn from: {LEAST} at "
                "least, better ten of each label"
            )
        return cls.split(digits, seed)

    @classmethod
    def split(cls, digits: Digits, seed: int) -> "OwnImages":
        """Hold back a fifth of each label, at random."""
        order = np.random.default_rng(seed).permutation(len(digits))
        is_held_back = np.zeros(len(digits), bool)
        for label in range(10):
            of_label = order[digits.labels[order] == label]
            is_held_back[of_label[HELD_BACK - 1 :: HELD_BACK]] = True
        return cls(
            learned=Digits(digits.images[~is_held_back], digits.labels[~is_held_back]),
            held_back=Digits(digits.images[is_held_back], digits.labels[is_held_back]),
        )

    def among(self, others: Digits) -> Digits:
        """Return `others` and the images to learn from, repeated until they are `SHARE` of all."""
        wanted = SHARE / (1 - SHARE) * len(others) / len(self.learned)
        repeats = min(max(1, round(wanted)), MAX_REPEATS)
        return Digits(
            np.concatenate([others.images, *[self.learned.images] * repeats]),
            np.concatenate([others.labels, *[self.learned.labels] * repeats]),
        )

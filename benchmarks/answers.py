"""The check before anything is timed: servers of the same version give the same, right answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import digits, mix
from benchmarks.mix import Picture
from benchmarks.records import DIGITS
from benchmarks.servers import Server

TOLERANCE = 5e-3
"""Allowed difference of a probability: other batch sizes sum in another order."""
EIGHT_BIT_TOLERANCE = 2e-2
"""The same of the service, whose eight-bit programs round: 0.0063 on version 5's golden digits."""


class WrongAnswersError(Exception):
    """A server is not of the version that it should serve, or reads images wrongly."""


def check_golden(server: Server, model: Path) -> int:
    """Ask for a version's golden digits as 28×28 PNGs and return how many there were.

    Raises:
        WrongAnswersError: A label or probability is not the version's.
        OSError: There is no answer.
    """
    images, expected = digits.golden(model)
    allowed = EIGHT_BIT_TOLERANCE if server.name == DIGITS else TOLERANCE
    for number, (image, row) in enumerate(zip(images, expected, strict=True)):
        label, probabilities = server.ask(mix.encode(image, ".png"))
        apart = max(abs(p - q) for p, q in zip(probabilities, row, strict=True))
        if label != row.argmax() or apart > allowed:
            raise WrongAnswersError(
                f"{server.name} reads golden digit {number} as {label}, not as {row.argmax()}, or "
                f"a probability is {apart:.4f} off."
            )
    return len(images)


def share_of_right(server: Server, pictures: Sequence[Picture]) -> float:
    """Return the share of pictures whose digit a server names, rejected or not. Raises OSError."""
    right = 0
    for picture in pictures:
        try:
            right += server.ask(picture.file)[0] == picture.label
        except ValueError:  # an answer without a label: no digit was found
            continue
    return right / len(pictures)

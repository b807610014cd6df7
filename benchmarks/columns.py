"""Rows as the predictions of a request, of which the service's figures take the columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Columns(list[Any]):
    """Rows with a label, a confidence and a rejection each, and their columns."""

    @property
    def labels(self) -> list[int | None]:
        """The digits; None for a blank image."""
        return [row.label for row in self]

    @property
    def confidences(self) -> NDArray[np.float32]:
        """The digits' probabilities, [n]."""
        return np.array([row.confidence for row in self], np.float32)

    @property
    def rejected(self) -> list[str | None]:
        """The reasons not to use the answers, if any."""
        return [row.rejected for row in self]

"""The row reader: a row's candidates and its strip -> its readings, judged.

The lattice alone reads a row whose digits stand apart, and knows that it does. Of the others the
row net is asked as well: what it says takes three times as long as the lattice's search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .candidatenet import Evidence
from .combination import Rivals, combined, rivals_of
from .grammar import Grammar, Mark
from .judge import Judged, has_slash, judge, lacks_minus, number_figures, rival_figures
from .lattice import Lattice, lattice_of
from .rownet import RowNet
from .search import Readings, search
from .weights import Weights

UNTAUGHT = frozenset((Mark.SLASH, Mark.SIGN))
"""Marks that the row net has not learned: it takes a slash for a 1 and a sign for a 5."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row, by what was found in it.

    Attributes:
        cuts: The number of its cuts, both ends included.
        evidence: What is known of its candidates.
        strip: Gives the whole row at one height, [28,w]; without columns where it is too long.
    """

    cuts: int
    evidence: Evidence
    strip: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads rows by weights and the row net. Safe for threads."""

    weights: Weights
    row_net: RowNet

    def read(self, row: Row, grammar: Grammar) -> Judged | None:
        """The readings that the grammar allows, judged; None where it allows none."""
        marks = bool(grammar.marks)
        lattice = lattice_of(row.cuts, row.evidence, self.weights, marks=marks)
        readings = search(lattice, grammar)
        if not readings.best:
            return None
        facts = number_figures(readings, lattice, row.evidence.scores)
        alone = judge(readings, facts, self.weights.alone)
        is_enough = self._is_sure(alone) or not UNTAUGHT.isdisjoint(grammar.marks)
        rivals = None if is_enough else self.rivals(row, lattice, readings, grammar)
        judged = alone if rivals is None else self._judge_rivals(row, lattice, rivals)
        best, seen = judged.readings.best[0], row.evidence
        lacks_mark = lacks_minus(best, seen, grammar) or has_slash(best, seen)
        return judged._replace(lacks_mark=lacks_mark)

    def _is_sure(self, judged: Judged) -> bool:
        """Whether the row net would hardly change a reading of the lattice."""
        return (
            judged.readings.best[0].probability >= self.weights.sure
            and judged.number_score >= judged.judging.number_score
        )

    def rivals(
        self, row: Row, lattice: Lattice, readings: Readings, grammar: Grammar
    ) -> Rivals | None:
        """The lattice's readings and the row net's; None where the row is too long for it."""
        strip = row.strip()
        if not strip.shape[1]:
            return None
        columns = self.row_net(strip)
        return rivals_of(readings, lattice, row.evidence.shapes, columns, grammar)

    def _judge_rivals(self, row: Row, lattice: Lattice, rivals: Rivals) -> Judged:
        """The rivals by their weight, judged."""
        readings, first = combined(rivals, self.weights.rivals)
        facts = number_figures(readings, lattice, row.evidence.scores)
        return judge(readings, rival_figures(facts, rivals, first), self.weights.both)

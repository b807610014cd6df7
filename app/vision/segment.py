"""GrayImage pixels -> the row of digits that stands out, cut in more places than it has digits.

The ink is found as for a single digit, on a picture that is wide enough for a row. Its connected
parts are joined to rows, and the weightiest is cut from the picture. A cut is a seam: the cheapest
way from above the row to below it, which costs what ink it crosses. Between digits that stand apart
a seam is free, however they slant; where they touch it goes through the thinnest place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from .box import Box, enlarged_box
from .candidates import Candidates, candidates_of, no_candidates
from .components import components_of
from .grayscale import GrayImage, reduced
from .ink import GRAINY_PARTS, InkMap, Plane, find_ink, is_cut, without_grain
from .rings import without_ring
from .row import Matrix, leveled_row, row_of
from .rules import without_lines
from .shade import is_shade
from .strip import no_strip, strip_of

FINDING_SHORTER, FINDING_LONGER = 180, 900
"""Pixels of the shorter and the longer side, at most, of the picture that the row is found on."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedRow:
    """A row of digits, cut into candidates.

    Attributes:
        inverted: The picture is dark ink on light ground.
        box: Left, top, right, bottom of the row in the picture's pixels; None where it is blank.
        several_lines: There is another row that is as weighty.
        lacks_digit: A digit of it may be in what touches the picture's border.
        cuts: Places at which the row may be cut, both of its ends included.
        candidates: What lies between them.
        plane: The whole row's ink, [h,w].
        with_lines: Where it may have been cut out without margin, and its strokes be taken for
            rules: the row with them.
    """

    inverted: bool
    box: Box | None = None
    several_lines: bool = False
    lacks_digit: bool = False
    cuts: int = 0
    candidates: Candidates = field(default_factory=no_candidates)
    plane: Plane | None = None
    with_lines: SegmentedRow | None = None

    @property
    def digits(self) -> GrayImage:
        """What the model is asked about: its candidates, and those of it with lines, [n,28,28]."""
        own, lined = self.candidates.digits, self.with_lines
        return own if lined is None else np.concatenate((own, lined.candidates.digits))

    def strip(self) -> GrayImage:
        """The whole row at one height, for the row net, [28,w]."""
        return no_strip() if self.plane is None else strip_of(self.plane)

    def scaled(self, scale: float) -> SegmentedRow:
        """The same row in a picture whose sides are `scale` times as long."""
        if scale == 1 or self.box is None:
            return self
        found = self.candidates
        candidates = Candidates(found.spans, found.digits, found.boxes * scale, found.shapes)
        lined = self.with_lines and self.with_lines.scaled(scale)
        box = enlarged_box(self.box, scale)
        return replace(self, box=box, candidates=candidates, with_lines=lined)


class FoundRow(NamedTuple):
    """Where a row is.

    Attributes:
        scale: How many pixels of the picture one of that spans which it was found in.
        inverted: The picture is dark ink on light ground.
        plane: The row's ink, [h,w], and the map to pixels of the latter; None if blank.
        several_lines: There is another row that is as weighty.
        lacks_digit: A digit of it may be in what touches the border.
        with_lines: As `plane`, with the lines that may be its strokes; None where there are none.
    """

    scale: int
    inverted: bool
    plane: tuple[Plane, Matrix] | None = None
    several_lines: bool = False
    lacks_digit: bool = False
    with_lines: tuple[Plane, Matrix] | None = None


def find_row(gray: GrayImage) -> FoundRow:
    """Find the row that stands out in `gray` [h,w] of any size."""
    scale = 1
    factor, found = _ink_of(gray)
    while (components := components_of(found.mask)).parts > GRAINY_PARTS and factor > 2:
        gray, scale = reduced(gray, factor), scale * factor
        factor, found = _ink_of(gray)
    if components.parts > GRAINY_PARTS:
        gray = without_grain(gray, factor)
        found = find_ink(reduced(gray, factor))
        components = components_of(found.mask)
    row = FoundRow(scale, found.dark)
    if not components.parts:
        return row
    single = components.parts == 1
    strokes, lined = without_lines(found.mask, found.ink, single=single, row=True)
    if lined and single and is_cut(found.mask):
        whole = row_of(found.mask, components, found.ink)
        row = row._replace(with_lines=leveled_row(gray, factor, found, whole))
    if lined or not single:
        components = components_of(strokes) if lined else components
        strokes, ringed = without_ring(strokes, components, found.ink)
        components = components_of(strokes) if ringed else components
    if not components.parts:
        return row
    kept = row_of(strokes, components, found.ink)
    if not len(kept.boxes) or is_shade(kept.mask, found):
        return row
    plane = leveled_row(gray, factor, found, kept)
    return row._replace(plane=plane, several_lines=kept.several, lacks_digit=kept.lacks_digit)


def _ink_of(gray: GrayImage) -> tuple[int, InkMap]:
    """By how much `gray` is reduced to find a row's ink, and the ink."""
    factor = max(1, -(-min(gray.shape) // FINDING_SHORTER), -(-max(gray.shape) // FINDING_LONGER))
    return factor, find_ink(reduced(gray, factor))


def segment(gray: GrayImage) -> SegmentedRow:
    """Cut the row that stands out in `gray` [h,w] of any size into candidates."""
    row = find_row(gray)
    found = _cut(row, row.plane, gray.shape)
    if found.box is None or row.with_lines is None:
        return found
    return replace(found, with_lines=_cut(row, row.with_lines, gray.shape))


def _cut(row: FoundRow, ink: tuple[Plane, Matrix] | None, shape: tuple[int, ...]) -> SegmentedRow:
    """Cut a row's ink, with its lines or without, in a picture of `shape`."""
    if ink is None:
        return SegmentedRow(row.inverted)
    plane, place = ink
    cuts, candidates = candidates_of(plane, place * row.scale, shape)
    if not len(candidates.spans):
        return SegmentedRow(row.inverted)
    judged = row.several_lines, row.lacks_digit
    return SegmentedRow(row.inverted, _box(candidates), *judged, cuts, candidates, plane)


def _box(candidates: Candidates) -> Box:
    """The box of all candidates."""
    left, top = candidates.boxes[:, :2].min(axis=0)
    right, bottom = candidates.boxes[:, 2:].max(axis=0)
    return int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom))

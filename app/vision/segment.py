"""GrayImage pixels -> the row of digits that stands out, cut in more places than it has digits.

The ink is found as for a single digit, on a picture that is wide enough for a row. Its connected
parts are joined to rows, and the weightiest is cut from the picture. A cut is a seam: the cheapest
way from above the row to below it, which costs what ink it crosses. Between digits that stand apart
a seam is free, however they slant; where they touch it goes through the thinnest place.

What lies between any two cuts that are near enough is a candidate: it is brought to MNIST's form as
`normalize` does it, and described by its shape and the cuts around it. Which candidates are the
digits is for the reader to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from .candidates import Candidates, candidates_of, no_candidates
from .grayscale import GrayImage, reduced
from .ink import find_ink
from .normalize import GRAINY_PARTS, Box, count_parts, is_shade
from .row import leveled_row, row_of
from .rules import without_lines

FINDING_SHORTER, FINDING_LONGER = 180, 900
"""Pixels of the shorter and the longer side, at most, of the picture that the row is found on."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedRow:
    """A row of digits, cut into candidates.

    Attributes:
        inverted: The picture is dark ink on light ground.
        box: Left, top, right, bottom of the row in the picture's pixels; None where it is blank.
        several_lines: There is another row that is as weighty.
        cuts: Places at which the row may be cut, both of its ends included.
        candidates: What lies between them.
    """

    inverted: bool
    box: Box | None = None
    several_lines: bool = False
    cuts: int = 0
    candidates: Candidates = field(default_factory=no_candidates)

    def scaled(self, scale: float) -> SegmentedRow:
        """The same row in a picture whose sides are `scale` times as long."""
        if scale == 1 or self.box is None:
            return self
        left, top, right, bottom = (round(edge * scale) for edge in self.box)
        found = self.candidates
        candidates = Candidates(found.spans, found.digits, found.boxes * scale, found.shapes)
        return SegmentedRow(
            self.inverted, (left, top, right, bottom), self.several_lines, self.cuts, candidates
        )


def segment(gray: GrayImage) -> SegmentedRow:
    """Cut the row that stands out in `gray` [h,w] of any size into candidates."""
    factor = max(1, -(-min(gray.shape) // FINDING_SHORTER), -(-max(gray.shape) // FINDING_LONGER))
    found = find_ink(reduced(gray, factor))
    if count_parts(found.mask) > GRAINY_PARTS:
        if factor > 2:
            return segment(reduced(gray, factor)).scaled(factor)
        gray = np.asarray(cv2.GaussianBlur(gray, (0, 0), 1.5 * factor), np.uint8)
        found = find_ink(reduced(gray, factor))
    parts = count_parts(found.mask)
    if not parts:
        return SegmentedRow(found.dark)
    strokes, _ = without_lines(found.mask, single=parts == 1, row=True)
    kept, several_lines = row_of(strokes, found.ink)
    if not kept.any() or is_shade(kept, found.ink):
        return SegmentedRow(found.dark)
    cuts, candidates = candidates_of(*leveled_row(gray, factor, found, kept), gray.shape)
    if not len(candidates.spans):
        return SegmentedRow(found.dark)
    return SegmentedRow(found.dark, _box(candidates), several_lines, cuts, candidates)


def _box(candidates: Candidates) -> Box:
    """The box of all candidates."""
    left, top = candidates.boxes[:, :2].min(axis=0)
    right, bottom = candidates.boxes[:, 2:].max(axis=0)
    return int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom))

"""The drawings are digits in several hands, always the same, and stay on the pad."""

from __future__ import annotations

from collections import Counter

import numpy as np

from benchmarks.handwriting import HANDS, MODELS, Hand, drawings, resampled


def test_there_are_83_of_all_digits_and_all_on_the_pad() -> None:
    found = list(drawings())
    assert len(found) == 83
    assert set(Counter(drawing.label for drawing in found)) == set(range(10))
    assert len({drawing.name for drawing in found}) == 83
    for drawing in found:
        points = np.vstack(drawing.strokes)
        assert points.min() > 0
        assert points.max() < 1
        assert np.ptp(points, axis=0).max() > 0.1, drawing.name


def test_they_are_the_same_each_time() -> None:
    for one, other in zip(drawings(), drawings(), strict=True):
        assert one.name == other.name
        assert all(map(np.array_equal, one.strokes, other.strokes))


def test_a_fast_hand_reports_fewer_positions_and_a_dotting_one_only_dots() -> None:
    random = np.random.default_rng(1)
    [plain], [fast] = (HANDS[kind].draw(MODELS["2"], random) for kind in ("plain", "fast"))
    assert len(fast) < len(plain) / 3
    dots = HANDS["dotted"].draw(MODELS["2"], random)
    assert len(dots) > 10
    assert {len(dot) for dot in dots} == {1}


def test_a_slanted_digits_top_is_further_right_than_its_foot() -> None:
    [one] = Hand(slant=0.3, shake=0).draw(MODELS["1"], np.random.default_rng(1))
    assert one[0, 0] - one[-1, 0] > 0.1


def test_resampling_keeps_both_ends() -> None:
    corners = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 0.5)])
    points = resampled(corners, 0.25)
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 0.5]
    assert len(points) == 7

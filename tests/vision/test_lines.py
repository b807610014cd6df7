import numpy as np
import pytest

from app.vision.lines import longest_run, straight

from .test_rules import with_line


@pytest.mark.parametrize("upright", [False, True], ids=["across", "down"])
def test_a_line_has_its_ends_and_thickness(upright: bool) -> None:
    mask = with_line(np.zeros((100, 140), np.uint8), (30, 50), (139, 56), 5)
    lines = straight(np.ascontiguousarray(mask.T) if upright else mask, upright=upright)
    assert len(lines) == 1
    (line,) = lines
    assert abs(line.start - 30) <= 3
    assert line.stop == 140
    assert line.ends == (False, True)
    assert np.median(line.above + line.below + 1) in (5, 6, 7)


def test_thumbnails_have_no_lines() -> None:
    assert straight(np.ones((20, 40), np.uint8), upright=False) == []


@pytest.mark.parametrize(
    ("hit", "run"),
    [
        ("", None),
        ("0000", None),
        ("0110", (1, 3)),
        ("1101100001", (0, 5)),
        ("1000011011", (5, 10)),
    ],
)
def test_the_longest_run_bridges_small_gaps(hit: str, run: tuple[int, int] | None) -> None:
    assert longest_run(np.array([c == "1" for c in hit], bool), gap=1) == run

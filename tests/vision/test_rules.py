import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.vision.rules import without_lines

Mask = NDArray[np.uint8]


def three() -> Mask:
    mask = np.zeros((120, 120), np.uint8)
    points = [(40, 38), (66, 34), (74, 48), (56, 58), (78, 70), (70, 86), (42, 84)]
    cv2.polylines(mask, [np.array(points, np.int32)], False, 1, 6)
    return mask


def bare(mask: Mask, *, row: bool = False) -> tuple[Mask, bool]:
    """Ink of one strength without its lines, and whether there were any."""
    return without_lines(mask, mask, row=row)


def with_line(mask: Mask, start: tuple[int, int], end: tuple[int, int], width: int = 2) -> Mask:
    lined = mask.copy()
    cv2.line(lined, start, end, 1, width)
    return lined


def with_box(mask: Mask, near: int, far: int, width: int = 2) -> Mask:
    lined = mask.copy()
    cv2.rectangle(lined, (near, near), (far, far), 1, width)
    return lined


@pytest.mark.parametrize(
    "lined",
    [
        with_line(three(), (0, 20), (119, 26)),
        with_line(three(), (20, 0), (12, 119), 5),
        with_line(three(), (0, 60), (119, 62)),
        with_box(three(), 20, 100),
        with_box(three(), 20, 100, 7),
        with_box(three(), 29, 92),
        with_line(with_line(three(), (15, 20), (15, 100)), (15, 100), (105, 100)),
        with_line(three(), (30, 110), (90, 110)),
        with_line(with_line(three(), (0, 20), (70, 24)), (78, 25), (119, 28)),
    ],
    ids=[
        "rule",
        "margin",
        "rule across",
        "box",
        "thick box",
        "touching",
        "corner",
        "underline",
        "rule with a gap",
    ],
)
def test_what_is_printed_goes_and_what_is_written_stays(lined: Mask) -> None:
    rest, found = bare(lined)
    assert found
    assert (rest & three()).sum() > 0.9 * three().sum()
    assert (rest & (1 - three())).sum() < 0.12 * three().sum()


def test_rules_much_longer_than_the_digit_go() -> None:
    wide = np.zeros((150, 400), np.uint8)
    wide[15:135, 140:260] = three()
    rest, found = bare(with_line(with_line(wide, (0, 10), (399, 14)), (0, 130), (399, 134)))
    assert found
    assert np.array_equal(rest, wide)


def test_bars_side_by_side_are_no_rule() -> None:
    written = np.zeros((120, 240), np.uint8)
    for left in (20, 88, 156):
        corners = np.array([(left, 30), (left + 60, 30), (left + 34, 100)], np.int32)
        cv2.polylines(written, [corners], False, 1, 6)
    rest, found = bare(written)
    assert not found
    assert np.array_equal(rest, written)


def seven_strokes() -> Mask:
    mask = np.zeros((120, 120), np.uint8)
    cv2.polylines(mask, [np.array([(30, 20), (85, 20), (70, 105)], np.int32)], False, 1, 6)
    return mask


@pytest.mark.parametrize(
    "written",
    [
        three(),
        seven_strokes(),
        with_line(np.zeros((120, 120), np.uint8), (60, 10), (55, 110), 7),
        with_box(np.zeros((120, 120), np.uint8), 30, 90, 6),
        with_line(with_line(three() * 0, (40, 20), (25, 70), 6), (25, 70), (95, 70), 6)
        | with_line(three() * 0, (75, 40), (72, 110), 6),
    ],
    ids=["three", "seven", "one", "square zero", "four"],
)
def test_straight_strokes_stay(written: Mask) -> None:
    rest, found = bare(written)
    assert not found
    assert np.array_equal(rest, written)


def apart_seven(bar: int, gap: int) -> Mask:
    mask = with_line(np.zeros((160, 160), np.uint8), (120 - bar, 50), (120, 50), 4)
    return with_line(mask, (117, 58 + gap), (97, 125), 4)


@pytest.mark.parametrize("bar", [62, 70, 78])
@pytest.mark.parametrize("gap", [4, 12])
def test_a_bar_above_its_stem_is_no_rule(bar: int, gap: int) -> None:
    written = apart_seven(bar, gap)
    rest, found = bare(written)
    assert not found
    assert np.array_equal(rest, written)


@pytest.mark.parametrize(
    ("start", "end"),
    [((29, 26), (87, 26)), ((40, 94), (90, 94)), ((94, 36), (94, 88))],
    ids=["top", "foot", "side"],
)
@pytest.mark.parametrize("width", [3, 4, 5])
def test_a_stroke_along_a_frames_side_stays(
    start: tuple[int, int], end: tuple[int, int], width: int
) -> None:
    middle = (start[0] + end[0]) // 2, (start[1] + end[1]) // 2
    written = with_line(np.zeros((120, 120), np.uint8), start, end, 7)
    written = with_line(written, middle, (60, 60), 7)
    rest, found = bare(with_box(written, 22, 98, width))
    assert found
    assert (rest & written).sum() > 0.8 * written.sum()
    assert (rest & (1 - written)).sum() < 0.5 * written.sum()


def drawn(width: int, *strokes: list[tuple[int, int]]) -> Mask:
    mask = np.zeros((120, width), np.uint8)
    for stroke in strokes:
        cv2.polylines(mask, [np.array(stroke, np.int32)], False, 1, 7)
    return mask


def eight(mask: Mask, left: int) -> Mask:
    for middle in (38, 82):
        cv2.ellipse(mask, (left + 24, middle), (24, 22), 0, 0, 360, 1, 7)
    return mask


@pytest.mark.parametrize(
    "written",
    [
        eight(drawn(220, [(186, 20), (140, 20), (140, 55), (186, 55)], [(186, 20), (183, 97)])
              | drawn(220, [(183, 97), (140, 97)]), 30),
        eight(drawn(220, [(28, 20), (82, 20), (64, 102)]), 130),
        eight(drawn(220, [(130, 20), (186, 20), (176, 102)]), 30),
        drawn(120, [(80, 15), (45, 25), (42, 60), (42, 100), (85, 100), (85, 62), (42, 62)]),
        eight(drawn(220, [(180, 20), (140, 20), (140, 56), (180, 62), (180, 98), (136, 98)]), 30),
    ],
    ids=["8 and 9", "7 and 8", "8 and 7", "six", "8 and 5"],
)  # fmt: skip
def test_a_digits_straight_strokes_are_no_frame_of_what_is_beside_them(written: Mask) -> None:
    rest, found = bare(written)
    assert not found
    assert np.array_equal(rest, written)


def ruled(mask: Mask, step: int, level: int) -> NDArray[np.uint8]:
    """Ink of 240 on squared paper whose lines have this `level`."""
    ink = mask * np.uint8(240)
    for at in range(step // 2, len(mask), step):
        for line in (ink[at : at + 2], ink[:, at : at + 2]):
            np.maximum(line, level, out=line)
    return ink


@pytest.mark.parametrize("step", [12, 22, 45], ids=["fine", "usual", "coarse"])
def test_the_lines_of_a_page_leave_a_small_digit(step: int) -> None:
    small = cv2.resize(three(), (90, 90), interpolation=cv2.INTER_AREA)
    written = np.pad(np.asarray(small, np.uint8), 45)
    ink = ruled(written, step, 100)
    rest, found = without_lines((ink > 0).view(np.uint8), ink)
    assert found
    assert (rest & written).sum() > 0.9 * written.sum()
    assert (rest & (1 - written)).sum() < 0.1 * written.sum()


def test_thin_straight_strokes_from_border_to_border_stay() -> None:
    seven = with_line(
        with_line(np.zeros((120, 100), np.uint8), (0, 1), (99, 1)), (97, 0), (97, 119)
    )
    for row in (False, True):
        rest, found = bare(seven, row=row)
        assert not found
        assert np.array_equal(rest, seven)


def test_a_stroke_on_a_fainter_line_stays() -> None:
    written = with_line(with_line(three() * 0, (60, 20), (60, 100), 6), (30, 60), (90, 60), 3)
    ink = np.maximum(written * np.uint8(240), with_line(three() * 0, (0, 60), (119, 60), 3) * 90)
    rest, found = without_lines((ink > 0).view(np.uint8), ink)
    assert found
    assert rest[60, 32:89].all()
    assert not rest[60, :24].any()


@pytest.mark.parametrize("level", [100, 240])
def test_a_page_of_lines_alone_is_blank(level: int) -> None:
    ink = ruled(np.zeros((180, 180), np.uint8), 22, level)
    rest, found = without_lines((ink > 0).view(np.uint8), ink)
    assert found
    assert not rest.any()

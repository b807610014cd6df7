import cv2
import numpy as np

from training.corpora import canvases, strokes


def test_a_digit_in_pieces_is_never_cut_to_one_of_them() -> None:
    ink = np.zeros((100, 60), np.uint8)
    cv2.rectangle(ink, (5, 0), (55, 8), 255, -1)
    cv2.circle(ink, (30, 75), 20, 255, 6)
    assert not canvases.is_one_piece(ink)
    for seed in range(40):
        digit = canvases.normalized(ink, np.random.default_rng(seed))
        rows = np.flatnonzero(digit.max(axis=1) > 60)
        top = digit[rows[0] : rows[0] + 2].max(axis=0)
        assert np.count_nonzero(top > 60) >= 7  # the bar


def test_ink_lies_where_the_box_says() -> None:
    ink = strokes.drawn("8 plain", np.random.default_rng(1))
    for seed in range(30):
        canvas, box = canvases.on_canvas(ink, np.random.default_rng(seed))
        assert canvas.shape[0] == canvas.shape[1]
        ground = int(np.median(canvas[0]))
        left, top, right, bottom = (int(edge) for edge in box)
        outside = canvas.copy()
        outside[top:bottom, left:right] = ground
        assert (outside == ground).all()


def test_some_ink_is_shrunk_without_averaging() -> None:
    ink = strokes.drawn("8 plain", np.random.default_rng(1))
    levels = set(np.unique(ink))
    drawn = [canvases.on_canvas(ink, np.random.default_rng(seed))[0] for seed in range(100)]
    unsmoothed = [
        set(np.unique(one)) <= levels | {255 - level for level in levels} for one in drawn
    ]
    assert any(unsmoothed)
    assert not all(unsmoothed)


def test_a_letter_and_one_of_its_strokes_are_not_alike() -> None:
    letter = np.zeros((28, 28), np.uint8)
    letter[4:24, 8:10] = 255
    bar = letter.copy()
    letter[[4, 5, 22, 23], 8:20] = 255
    assert canvases.are_alike(letter, letter)
    assert not canvases.are_alike(letter, bar)

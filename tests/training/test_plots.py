from pathlib import Path

import numpy as np
from PIL import Image

from training import calibrate, plots

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (120, 28, 28), np.uint8)
LABELS = RNG.integers(0, 10, 120)
PROBABILITIES = calibrate.softmax(RNG.normal(0, 3, (120, 10)))


def draw_all(folder: Path) -> dict[str, bytes]:
    history = [
        {"epoch": epoch, "loss": 1 / epoch, "validation_accuracy": 1 - 0.1 / epoch}
        for epoch in range(1, 5)
    ]
    said = PROBABILITIES.argmax(axis=1)
    plots.learning_curves(history, folder / "learning.png")
    plots.confusion(LABELS, said, folder / "confusion.png")
    plots.predictions(IMAGES, LABELS, said, folder / "predictions.png")
    plots.mistakes(IMAGES, LABELS, PROBABILITIES, folder / "mistakes.png")
    curve = calibrate.reliability(PROBABILITIES, LABELS)
    plots.reliability({"drawn": curve}, folder / "reliability.png")
    plots.bars({"pencil": 0.97, "chalk": 0.9}, 60, "Right answers by scene", folder / "bars.png")
    rows = {"1 flag": IMAGES[:8], "7 crossed": IMAGES[8:16], "2 looped": IMAGES[16:20]}
    plots.sheet(rows, "Ways of writing", folder / "sheet.png")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_pictures_are_pictures_and_come_out_the_same_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    drawn = draw_all(first)
    assert len(drawn) == 7
    assert drawn == draw_all(second)
    for name in drawn:
        with Image.open(first / name) as picture:
            assert min(picture.size) > 100


def test_no_mistake_is_an_empty_grid(tmp_path: Path) -> None:
    plots.mistakes(IMAGES, LABELS, np.eye(10)[LABELS], tmp_path / "none.png")
    assert (tmp_path / "none.png").is_file()

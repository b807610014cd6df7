from pathlib import Path

import cv2
import numpy as np
import pytest

from app.vision.decode import decode
from app.vision.grayscale import GrayImage
from app.vision.normalize import normalize
from training.corpora.scenes import KINDS, main, pool, render, thin


def seven(side: int = 28) -> GrayImage:
    image = np.zeros((side, side), np.uint8)
    points = np.array([(6, 5), (21, 5), (11, 23)]) * side // 28
    cv2.polylines(image, [points.astype(np.int32)], False, 255, max(1, side // 11), cv2.LINE_AA)
    return image


def normalized(file: bytes) -> GrayImage:
    return normalize(decode(file).gray).digit


def alike(image: GrayImage, other: GrayImage) -> float:
    blurred = (cv2.GaussianBlur(x.astype(np.float32), (0, 0), 2) for x in (image, other))
    a, b = (x.ravel() for x in blurred)
    return float(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_scene_is_an_image_file_that_shows_the_digit(kind: str) -> None:
    plain = normalize(seven()).digit
    likeness = [
        alike(normalized(render(seven(), kind, np.random.default_rng(i))), plain) for i in (1, 2, 3)
    ]
    assert np.median(likeness) > 0.6


@pytest.mark.parametrize("kind", ["photo", "scan", "odd mode"])
def test_the_same_seed_makes_the_same_scene(kind: str) -> None:
    one, same, other = (render(seven(), kind, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_digits_of_any_size_are_rendered() -> None:
    assert (
        alike(normalized(render(seven(16), "canvas white", np.random.default_rng(1))), seven())
        > 0.6
    )


def test_a_skeleton_is_one_pixel_wide_and_in_one_piece() -> None:
    solid = np.zeros((60, 60), np.uint8)
    cv2.polylines(solid, [np.array([(10, 10), (45, 12), (20, 50)], np.int32)], False, 1, 9)
    bones = thin(solid)
    assert cv2.connectedComponents(bones)[0] == 2
    assert not (bones > solid).any()
    assert cv2.erode(bones, np.ones((2, 2), np.uint8)).sum() <= 3
    assert bones.sum() > 60


def test_a_pool_says_what_each_of_its_scenes_is() -> None:
    digits = np.stack([seven(), seven()[::-1]])
    labels = np.array([7, 2], np.uint8)
    made = pool(digits, labels, count=len(KINDS) + 1, seed=5, first=100)
    assert made.digits.shape == (len(KINDS) + 1, 28, 28)
    assert set(made.sources.tolist()) <= {100, 101}
    assert np.array_equal(made.labels, labels[made.sources - 100])
    assert made.kinds.tolist() == [*range(len(KINDS)), 0]
    again = pool(digits, labels, count=3, seed=5, first=100)
    assert np.array_equal(again.digits, made.digits[:3])


def test_the_command_writes_a_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "digits.npz", tmp_path / "pool.npz"
    np.savez(source, x=np.stack([seven(16)] * 3), y=np.array([7, 7, 7], np.uint8))
    main(["--data", str(source), "--split", "usps", "--count", "4", "--out", str(out)])
    with np.load(out) as made:
        assert made["digits"].shape == (4, 28, 28)
        assert made["labels"].tolist() == [7] * 4
        assert made["kind_names"].tolist() == list(KINDS)
    assert "4 scenes" in capsys.readouterr().out

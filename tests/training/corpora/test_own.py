from pathlib import Path

import numpy as np
import pytest

from training.corpora import own
from training.corpora.data import DataError, Digits
from training.corpora.own import OwnImages


def digits(count: int, *, first: int = 0) -> Digits:
    """Digits that differ, ten labels in turn."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(count) % 256, first
    return Digits(images, (np.arange(count) % 10).astype(np.uint8))


def test_a_fifth_of_each_label_is_held_back_and_nothing_is_lost() -> None:
    split = OwnImages.split(digits(100), seed=1)
    assert np.bincount(split.held_back.labels).tolist() == [2] * 10
    assert np.bincount(split.learned.labels).tolist() == [8] * 10
    both = np.concatenate([split.learned.images, split.held_back.images])[:, 0, 0]
    assert sorted(both) == list(range(100))
    for part in (split.learned, split.held_back):
        assert np.array_equal(part.images[:, 0, 0] % 10, part.labels)


def test_the_seed_decides_which_are_held_back() -> None:
    first, again, other = (OwnImages.split(digits(100), seed).held_back for seed in (1, 1, 2))
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)


@pytest.mark.parametrize(("others", "expected"), [(1_200, 5), (60, 1), (100_000, own.MAX_REPEATS)])
def test_your_own_images_are_repeated_until_they_are_a_quarter(others: int, expected: int) -> None:
    split = OwnImages.split(digits(100), seed=1)
    mixed = split.among(digits(others, first=9))
    counts = np.bincount(mixed.images[mixed.images[:, 0, 1] == 0, 0, 0])
    assert set(counts) == {0, expected}
    assert (mixed.images[:, 0, 1] == 9).sum() == others
    assert np.array_equal(mixed.images[:, 0, 0] % 10, mixed.labels) or others > 256
    assert len(mixed.labels) == len(mixed.images)


def test_a_folder_is_read_and_said_to_be_small(
    own_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = OwnImages.read(own_images, seed=1)
    assert 0.15 < len(read.held_back) / (len(read.learned) + len(read.held_back)) < 0.25
    assert capsys.readouterr().out == ""


def test_ten_images_are_too_few_to_learn_from(own_images: Path, tmp_path: Path) -> None:
    (tmp_path / "4").mkdir()
    for file in sorted((own_images / "4").iterdir())[:10]:
        (tmp_path / "4" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(DataError, match="10 usable images are too few to learn from: 20 at least"):
        OwnImages.read(tmp_path, seed=1)

import pytest

from training import intervals


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 0.0625), (1, 9, 22 / 1024), (9, 1, 22 / 1024)],
)
def test_mcnemar_counts_splits(first: int, second: int, p: float) -> None:
    assert intervals.mcnemar(first, second) == pytest.approx(p)


def test_mcnemar_of_many_images() -> None:
    assert intervals.mcnemar(2_000, 2_000) == 1
    assert 0 <= intervals.mcnemar(1_000, 2_000) < 1e-60


def test_the_difference_is_inside_its_interval() -> None:
    low, high = intervals.difference(10, 30, 1_000)
    assert 0.005 < low < 0.02 < high < 0.035
    assert intervals.difference(0, 0, 100) == (0, 0)
    assert intervals.difference(5, 0, 5) == (-1, -1)

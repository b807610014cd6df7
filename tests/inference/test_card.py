from __future__ import annotations

import pytest

from app.inference.card import flat, images_of, wilson


def test_wilson_is_that_of_the_tables() -> None:
    assert wilson(95, 100) == pytest.approx((0.8882, 0.9785), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    assert wilson(0, 0) == (0, 1)


def test_nested_figures_are_named_by_their_way() -> None:
    figures = flat({"ece": 0.1, "outliers": {"rejected": 1, "worst": "spirals"}})
    assert figures == {"ece": 0.1, "outliers.rejected": 1.0}


def test_a_share_says_of_how_many_images_it_is_where_that_is_known() -> None:
    figures = flat({"test_accuracy": 0.9, "people": {"right": {"share": 0.5, "of": 250}}})
    assert images_of(figures, "test_accuracy") == 10_000
    assert images_of(figures, "people.right.share") == 250
    assert images_of(figures, "scenes.mean") is None
    scenes = flat({"scenes": {"mean": 0.9, "accuracy_of_accepted": 0.99, "images": 1980}})
    assert images_of(scenes, "scenes.mean") == 1980
    assert images_of(scenes, "scenes.accuracy_of_accepted") is None

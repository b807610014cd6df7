from __future__ import annotations

import re

import pytest

from app import errors
from app.errors import (
    PROBLEMS,
    BrokenImage,
    ClientGone,
    DigitsError,
    ImageError,
    InternalError,
    ModelError,
    QueueFull,
    Unavailable,
)


def leaves(kind: type[DigitsError]) -> list[type[DigitsError]]:
    below = kind.__subclasses__()
    return [leaf for one in below for leaf in leaves(one)] if below else [kind]


LEAVES: list[type[DigitsError]] = [*leaves(DigitsError), InternalError]


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_every_error_has_its_problem(kind: type[DigitsError]) -> None:
    expected = InternalError if kind is ModelError else kind
    assert PROBLEMS[kind.slug] is expected
    assert kind.status == expected.status


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = dict(re.findall(r"── (\w+) +(\d{3})", errors.__doc__ or ""))
    assert drawn == {kind.__name__: str(kind.status) for kind in LEAVES}


def test_slugs_name_one_problem_each() -> None:
    assert set(PROBLEMS.values()) == set(LEAVES) - {ModelError}
    assert all(kind.slug == slug for slug, kind in PROBLEMS.items())


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=list(PROBLEMS))
def test_problems_explain_themselves(problem: type[DigitsError]) -> None:
    assert 400 <= problem.status < 600
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", problem.slug)
    assert problem.title
    assert not problem.title.endswith(".")
    assert problem.remedy.endswith(".")


def test_without_a_text_the_detail_is_the_remedy() -> None:
    assert QueueFull().detail == QueueFull.remedy
    assert QueueFull("Come back later.").detail == "Come back later."


def test_a_damaged_image_says_what_to_do() -> None:
    error = BrokenImage("The PNG is truncated.")
    error.index = 3
    assert error.detail == "Image 3: The PNG is truncated. Save or send it again."
    assert BrokenImage().detail == BrokenImage.remedy


def test_only_what_may_succeed_again_says_when() -> None:
    assert {kind.status for kind in leaves(Unavailable)} == {503}
    assert all((kind.status == 503) == issubclass(kind, Unavailable) for kind in LEAVES)
    assert QueueFull().retry_after_seconds >= 1


def test_a_client_that_is_gone_is_an_error_of_the_client() -> None:
    assert ClientGone.status == 499


@pytest.mark.parametrize(
    ("index", "text"), [(None, "Damaged."), (0, "Image 0: Damaged."), (7, "Image 7: Damaged.")]
)
def test_an_image_error_names_its_image(index: int | None, text: str) -> None:
    error = ImageError("Damaged.")
    error.index = index
    assert str(error) == text


@pytest.mark.parametrize("kind", leaves(ImageError), ids=lambda kind: kind.__name__)
def test_an_image_error_without_a_text_names_its_image_and_the_remedy(
    kind: type[ImageError],
) -> None:
    error = kind()
    assert error.detail == kind.remedy
    error.index = 3
    assert error.detail == f"Image 3: {kind.remedy}"

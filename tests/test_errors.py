from __future__ import annotations

import re

import orjson
import pytest

from app import errors
from app.errors import (
    INTERNAL_ERROR,
    OUTSIDE,
    PROBLEMS,
    PROBLEMS_BY_SLUG,
    BrokenImage,
    DigitsError,
    ImageError,
    ModelError,
    Problem,
    problem_for,
    problem_json,
)


def leaves(kind: type[DigitsError]) -> list[type[DigitsError]]:
    below = kind.__subclasses__()
    return [leaf for one in below for leaf in leaves(one)] if below else [kind]


@pytest.mark.parametrize("kind", leaves(DigitsError), ids=lambda kind: kind.__name__)
def test_every_error_has_its_problem(kind: type[DigitsError]) -> None:
    expected = INTERNAL_ERROR if kind is ModelError else PROBLEMS[kind]
    assert problem_for(kind("…")) is expected


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = dict(re.findall(r"── (\w+) +(\d{3})", errors.__doc__ or ""))
    assert drawn == {kind.__name__: str(problem.status) for kind, problem in PROBLEMS.items()}


def test_what_is_not_ours_is_an_internal_error() -> None:
    assert problem_for(ZeroDivisionError()) is INTERNAL_ERROR


@pytest.mark.parametrize("problem", PROBLEMS_BY_SLUG.values(), ids=lambda problem: problem.slug)
def test_problems_explain_themselves(problem: Problem) -> None:
    assert 400 <= problem.status < 600
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", problem.slug)
    assert problem.title
    assert not problem.title.endswith(".")
    assert problem.remedy.endswith(".")


def test_slugs_name_one_problem_each() -> None:
    assert len(PROBLEMS_BY_SLUG) == len(PROBLEMS) + len(OUTSIDE)


def test_problem_json() -> None:
    problem = PROBLEMS[BrokenImage]
    assert orjson.loads(problem_json(problem, "Image 3: damaged.", request_id="r-1")) == {
        "type": "/problems/broken-image",
        "title": problem.title,
        "status": 422,
        "detail": "Image 3: damaged.",
        "request_id": "r-1",
    }


@pytest.mark.parametrize(
    ("index", "text"), [(None, "Damaged."), (0, "Image 0: Damaged."), (7, "Image 7: Damaged.")]
)
def test_an_image_error_names_its_image(index: int | None, text: str) -> None:
    error = ImageError("Damaged.")
    error.index = index
    assert str(error) == text

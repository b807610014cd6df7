from __future__ import annotations

import json

import pytest

from app.api.problems import describe_problem, problem_response, render_problem
from app.errors import PROBLEMS, BrokenImage, DigitsError, NotFound, QueueFull, RequestTimeout


def test_a_problem_document() -> None:
    error = BrokenImage("Damaged.")
    error.index = 3
    response = problem_response(error, "r-1")
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert "retry-after" not in response.headers
    assert json.loads(bytes(response.body)) == {
        "type": "/problems/broken-image",
        "title": BrokenImage.title,
        "status": 422,
        "detail": "Image 3: Damaged.",
        "request_id": "r-1",
    }


def test_what_may_be_tried_again_says_when() -> None:
    assert problem_response(QueueFull(), "r-1").headers["retry-after"] == "1"


def test_without_a_detail_it_says_the_remedy() -> None:
    assert json.loads(bytes(problem_response(QueueFull(), "x").body))["detail"] == QueueFull.remedy


def test_a_refusal_of_the_server_is_a_problem_too() -> None:
    headers, body = render_problem(RequestTimeout)
    document = json.loads(body)
    assert (document["status"], document["type"]) == (408, "/problems/request-timeout")
    assert dict(headers)[b"x-request-id"].decode() == document["request_id"]
    assert dict(headers)[b"content-type"] == b"application/problem+json"
    assert dict(headers)[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize("error", PROBLEMS.values(), ids=lambda error: error.slug)
def test_every_problem_is_described(error: type[DigitsError]) -> None:
    described = describe_problem(error.slug)
    assert described["remedy"] == error.remedy
    assert described["status"] == error.status


def test_what_is_no_problem() -> None:
    with pytest.raises(NotFound):
        describe_problem("nothing")

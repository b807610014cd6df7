"""The pages for people: HTML, scripts and styles from `app/web`, and nothing from another host."""

from __future__ import annotations

import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from .head import GetRoute

WEB = Path(__file__).parents[1] / "web"

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
REDOC_POLICY = (
    f"{POLICY}; style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' "
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"
)
"""ReDoc inserts two style elements, always the same: an empty one, and its scroll bars'."""
POLICIES = {"redoc.html": REDOC_POLICY}
VENDORED = WEB / "vendor"
"""Folders of libraries, each named for its version."""


def page_headers(policy: str = POLICY) -> dict[str, str]:
    """Headers of a page: it runs only its own scripts, and is asked for anew after an update."""
    return {
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }


class PageFiles(StaticFiles):
    """The pages and what they load, with the headers of a page; 304 where a browser has it.

    Files come whole whatever `Range` says, as RFC 9110 permits (14.2): they are small, and a range
    that can't be served would be answered outside of the problem documents.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the answer for a path."""
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"range"]
        return await super().get_response(path, scope)

    def file_response(
        self, full_path: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> Response:
        """Return a file with the headers of a page; vendored files never change under a name."""
        response = super().file_response(full_path, *args, **kwargs)
        response.headers["accept-ranges"] = "none"
        response.headers.update(page_headers(POLICIES.get(Path(full_path).name, POLICY)))
        if VENDORED in Path(full_path).parents:
            response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


page_files = PageFiles(directory=WEB)


PROBLEM_PAGE = Template((WEB / "problem.html").read_text("utf-8"))


def wants_page(request: Request) -> bool:
    """Whether a browser asks, which names HTML among the types that it takes."""
    return "text/html" in request.headers.get("accept", "").lower()


def problem_page(problem: Mapping[str, object]) -> HTMLResponse:
    """The page that explains `problem`."""
    fields = {name: escape(str(value)) for name, value in problem.items()}
    headers = page_headers() | {"vary": "Accept"}
    return HTMLResponse(PROBLEM_PAGE.substitute(fields), headers=headers)


pages = APIRouter(route_class=GetRoute, include_in_schema=False)


@pages.get("/")
async def draw(request: Request) -> Response:
    """The page on which people draw and see the answer."""
    return await page_files.get_response("index.html", request.scope)


@pages.get("/docs")
async def docs(request: Request) -> Response:
    """The API to try, by Swagger UI."""
    return await page_files.get_response("docs.html", request.scope)


@pages.get("/redoc")
async def redoc(request: Request) -> Response:
    """The API to read, by ReDoc."""
    return await page_files.get_response("redoc.html", request.scope)

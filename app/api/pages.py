"""The pages for people: HTML, scripts and styles from `app/web`, and nothing from another host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

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


def page_headers(policy: str = POLICY) -> dict[str, str]:
    """Headers of a page: it runs only its own scripts, and is asked for anew after an update."""
    return {
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }


class PageFiles(StaticFiles):
    """What the pages load; HTML among it comes with the headers of a page."""

    def file_response(
        self, full_path: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> Response:
        """Return a file with the headers of a page."""
        response = super().file_response(full_path, *args, **kwargs)
        response.headers.update(page_headers())
        return response


pages = APIRouter(route_class=GetRoute, include_in_schema=False)


@pages.get("/")
async def draw() -> FileResponse:
    """The page on which people draw and see the answer."""
    return FileResponse(WEB / "index.html", headers=page_headers())


@pages.get("/docs")
async def docs() -> FileResponse:
    """The API to try, by Swagger UI."""
    return FileResponse(WEB / "docs.html", headers=page_headers())


@pages.get("/redoc")
async def redoc() -> FileResponse:
    """The API to read, by ReDoc."""
    return FileResponse(WEB / "redoc.html", headers=page_headers(REDOC_POLICY))

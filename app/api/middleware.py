"""Who may come in, and what a browser may do with what goes out.

Two ASGI layers; `main.create_app` says where they stand. CORS is Starlette's own.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import FORBIDDEN, UNAUTHORIZED, problem_json

LOCKED = ("/predict", "/v1", "/v2")
"""Paths that want a key, with all that is below them; health, metrics, page and docs never do."""
UNLOCKED = ("/v2/health",)

SHA256_HEX = re.compile(r"[0-9a-f]{64}")

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
DOCS_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net; connect-src 'self'; "
    "img-src 'self' data: https://fastapi.tiangolo.com; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""FastAPI's documentation page is an inline script and loads Swagger UI from a content network."""


def is_locked(path: str) -> bool:
    """Whether a key is wanted at `path`, where keys are set at all."""
    return _is_at_or_below(path, LOCKED) and not _is_at_or_below(path, UNLOCKED)


def _is_at_or_below(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(place + "/") for place in places)


def read_key_hashes(file: Path) -> frozenset[str]:
    """The SHA-256 hashes (hex) in `file`, one a line; `#` begins a comment.

    Raises ValueError, saying which line is wrong without repeating it: it may be a key.
    """
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} can't be read.") from error
    hashes = set()
    for number, line in enumerate(lines, 1):
        entry = line.partition("#")[0].strip().lower()
        if entry and not SHA256_HEX.fullmatch(entry):
            raise ValueError(f"{file}, line {number} is no SHA-256 in hex.")
        hashes.add(entry)
    hashes.discard("")
    if not hashes:
        raise ValueError(f"{file} holds no hash, so that no one could come in.")
    return frozenset(hashes)


class Keys:
    """Lets those in who present a key whose hash is known (`Authorization: Bearer`, RFC 6750, or
    `X-API-Key`). The others get 401 without a key and 403 with a wrong one, before their body is
    read.
    """

    def __init__(self, app: ASGIApp, *, hashes: frozenset[str]) -> None:
        self.app = app
        self.hashes = hashes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_locked(scope["path"]):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if knows(headers, self.hashes):
            await self.app(scope, receive, send)
            return
        key = _presented(headers)
        problem = FORBIDDEN if key else UNAUTHORIZED
        answer = Response(
            problem_json(problem, problem.remedy, request_id=scope["state"]["request_id"]),
            problem.status,
            None if key else {"www-authenticate": 'Bearer realm="digits"'},
            media_type="application/problem+json",
        )
        await answer(scope, receive, send)


def knows(headers: Headers, hashes: frozenset[str]) -> bool:
    """Whether a key is presented whose hash is among these."""
    presented = hashlib.sha256(_presented(headers).encode("latin-1")).hexdigest()
    # A list, not a generator: all are compared, so that time doesn't tell which was right.
    return any([hmac.compare_digest(presented, known) for known in hashes])  # noqa: C419


def _presented(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


class BrowserRules:
    """Tells browsers to take content types as they are, and of pages, to run nothing but their own
    scripts, to show them in no frame and to pass their address to no one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_rules(message: Message) -> None:
            if message["type"] == "http.response.start":
                rules = [(b"x-content-type-options", b"nosniff")]
                if Headers(raw=message["headers"]).get("content-type", "").startswith("text/html"):
                    policy = DOCS_POLICY if scope["path"].startswith("/docs") else PAGE_POLICY
                    rules.append((b"content-security-policy", policy.encode()))
                    rules.append((b"referrer-policy", b"no-referrer"))
                message["headers"] = [*message["headers"], *rules]
            await send(message)

        await self.app(scope, receive, send_with_rules)

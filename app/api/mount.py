"""Where the service is mounted: the path that a proxy has before the service's own.

Pages refer to each other relatively, and need nothing of it. Problem types and the OpenAPI document
are absolute paths, and begin with `DIGITS_ROOT_PATH`.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

OWN_SEGMENTS = frozenset(
    (
        *("predict", "read", "feedback", "v1", "v2", "web", "docs", "redoc", "openapi.json"),
        *("healthz", "livez", "readyz", "model", "metrics", "problems"),
    )
)
"""First segments of the service's own paths: of a mount below one of them, nobody could tell
whether the proxy has taken the prefix off."""


def is_ambiguous(root_path: str) -> bool:
    """Whether paths below `root_path` look like the service's own."""
    return not OWN_SEGMENTS.isdisjoint(root_path.split("/")[1:2])


def root_path_of(scope: Scope) -> str:
    """The path at which the service is mounted, without a slash at its end; "" at the root."""
    root_path: str = scope["state"].get("root_path", "")
    return root_path


class RootPathMiddleware:
    """Takes the mount's path off a request's, where the proxy has left it there.

    Everything behind it, API keys included, sees the service's own paths only.

    Args:
        app: The application.
        root_path: Such as `/digits`.
    """

    def __init__(self, app: ASGIApp, *, root_path: str) -> None:
        self.app = app
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["root_path"] = self.root_path
            path: str = scope["path"]
            if path.startswith(self.root_path + "/"):
                scope["path"] = path[len(self.root_path) :]
            elif path == self.root_path:  # the page's relative addresses want the slash
                await _redirect(scope, _last_segment(path) + "/")(scope, receive, send)
                return
        await self.app(scope, receive, send)


class SlashRedirect:
    """Answers paths that are a route's but for slashes at the end; for others, `otherwise` does.

    The new address is relative, so that it holds behind any proxy. Starlette's own is made of the
    `Host` header, and leads out of the mount, or from HTTPS to HTTP.
    """

    def __init__(self, routes: Sequence[BaseRoute], otherwise: ASGIApp) -> None:
        self.routes = routes
        self.otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request that no route has taken."""
        path: str = scope["path"]
        bare = path.rstrip("/")
        app = self.otherwise
        if bare and bare != path and self._has_route({**scope, "path": bare}):
            app = _redirect(scope, "../" * (len(path) - len(bare)) + _last_segment(bare))
        await app(scope, receive, send)

    def _has_route(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self.routes)


def _last_segment(path: str) -> str:
    return quote(path.rpartition("/")[2], safe=":@")


def _redirect(scope: Scope, address: str) -> RedirectResponse:
    query: bytes = scope["query_string"]
    return RedirectResponse(address + (f"?{query.decode('latin-1')}" if query else ""))

"""HEAD, which FastAPI's routes leave out."""

from __future__ import annotations

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Receive, Scope, Send


class GetRoute(APIRoute):
    """A route that answers HEAD as GET (RFC 9110, section 9.3.2); the server drops the content.

    HEAD is not among its methods: it would be an operation of its own in the OpenAPI document.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Take HEAD for GET."""
        match, child_scope = super().matches(scope)
        is_head = match is Match.PARTIAL and scope["method"] == "HEAD"
        return (Match.FULL if is_head else match), child_scope

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD; refuse other methods."""
        if scope["method"] == "HEAD":
            await self.app(scope, receive, send)
        elif scope["method"] == "GET":
            await super().handle(scope, receive, send)
        else:
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})

"""Routes without FastAPI's own work on each request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

Answer = Callable[[Request], Awaitable[ASGIApp]]


class ProtocolRoute(Route):
    """A route by whose path requests are counted, as they are by those of FastAPI's routes.

    Its endpoint is called as it is: what FastAPI puts around functions takes longer than routing.

    Args:
        path: Of the route.
        answer: Answers a request; what fails raises, for the application to answer.
        methods: That it takes.
    """

    def __init__(self, path: str, answer: Answer, methods: Sequence[str] = ("GET",)) -> None:
        super().__init__(path, _Endpoint(answer), methods=[*methods], include_in_schema=False)


@dataclass(frozen=True)
class _Endpoint:
    """A function of a request as an ASGI application."""

    answer: Answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.answer(Request(scope, receive, send))
        await response(scope, receive, send)

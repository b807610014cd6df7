"""What several tests of the HTTP interface use: answers, problems, and requests in ASGI's words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import httpx
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Scope

from app.api.services import Services
from app.errors import PROBLEMS
from tests.conftest import png, spoken

AS_IS = "/predict?normalize=false"
PNG = {"content-type": "image/png"}
JSON = {"content-type": "application/json"}
SEVEN = png(spoken(7))


def services_in(client: TestClient) -> Services:
    """What the lifespan built."""
    services = client.app_state["services"]
    assert isinstance(services, Services)
    return services


def labels(response: httpx.Response) -> list[int | None]:
    """The labels of an answer; it has to be one."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json()["model"] == {"name": "digits", "version": "1"}
    return [prediction["label"] for prediction in response.json()["predictions"]]


def detail_of(response: httpx.Response, slug: str) -> str:
    """The detail of a problem; it has to be this one, in the form that all have."""
    document = response.json()
    error = PROBLEMS[slug]
    assert (response.status_code, document["type"]) == (error.status, f"/problems/{slug}")
    assert response.headers["content-type"] == "application/problem+json"
    assert document["status"] == error.status
    assert document["title"] == error.title
    assert document["request_id"] == response.headers["x-request-id"]
    assert document.keys() == {"type", "title", "status", "detail", "request_id"}
    assert ("retry-after" in response.headers) is (error.status == 503)
    return str(document["detail"])


def body_messages(chunks: Sequence[bytes]) -> list[Message]:
    """A whole body as a server passes it on."""
    last = len(chunks) - 1
    return [
        {"type": "http.request", "body": chunk, "more_body": number < last}
        for number, chunk in enumerate(chunks)
    ]


def start_post(
    client: TestClient,
    app: ASGIApp,
    messages: Sequence[Message],
    headers: dict[str, str],
    *,
    query: bytes = b"normalize=false",
    state: dict[str, Any] | None = None,
    leaves: threading.Event | None = None,
) -> Future[tuple[int, bytes]]:
    """Post to `/predict` in ASGI's own words; the status and the body of the response.

    Args:
        client: Of the running application.
        app: The application.
        messages: What the client sends.
        headers: As they are; nothing is added.
        query: The query string.
        state: What the server adds to the request's state.
        leaves: When the client closes the connection; it stays without.
    """
    incoming = list(messages)
    sent: list[Message] = []

    async def run() -> tuple[int, bytes]:
        async def receive() -> Message:
            if incoming:
                return incoming.pop(0)
            if leaves is None:
                await asyncio.Event().wait()
            else:
                await asyncio.to_thread(leaves.wait)
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "raw_path": b"/predict",
            "root_path": "",
            "scheme": "http",
            "query_string": query,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("test", 1),
            "server": ("test", 80),
            "state": dict(client.app_state) | (state or {}),
        }
        await app(scope, receive, send)
        return sent[0]["status"], b"".join(message["body"] for message in sent[1:])

    assert client.portal
    return client.portal.start_task_soon(run)

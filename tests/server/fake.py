"""Fake applications under the real supervisor: `python -m tests.server.fake FACTORY WORKERS`.

They start fast, for they import neither the application nor TensorFlow. What they wait for, and
what they tell, are files in the folder FAKE_FOLDER.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from app.observe.logs import configure_logging
from app.observe.metrics import Metrics, shared_folder
from app.server import supervisor
from app.server.shutdown import Drain
from app.server.supervisor import Config, run

FOLDER = Path(os.environ.get("FAKE_FOLDER", "."))
DIES_WITH = 7


async def pid(request: Request) -> Response:
    return PlainTextResponse(str(os.getpid()))


async def slow(request: Request) -> Response:
    """Wait for the file `open`; a request's ID is bound meanwhile."""
    with structlog.contextvars.bound_contextvars(request_id="of-a-stranger"):
        (FOLDER / "slow").write_text(str(os.getpid()))
        while not (FOLDER / "open").exists():
            await asyncio.sleep(0.01)
    return PlainTextResponse("seven")


async def metered(request: Request) -> Response:
    """Count a request that never ends."""
    metrics_of(request).begin_request()
    return await slow(request)


async def figures(request: Request) -> Response:
    return Response(metrics_of(request).exposition())


def metrics_of(request: Request) -> Metrics:
    found: Metrics = request.app.state.metrics
    return found


async def long(request: Request) -> Response:
    """Answer with more than the client reads."""
    (FOLDER / "slow").touch()
    return StreamingResponse(b"7" * 2**20 for _ in range(64))


async def block(request: Request) -> Response:
    """Keep the event loop for ever."""
    (FOLDER / "slow").touch()
    time.sleep(10**6)  # noqa: ASYNC251
    return Response()


def application(
    started: Callable[[], None] = lambda: None,
    ended: Callable[[], None] = lambda: None,
    *,
    notice: float = 0.0,
    limit: float = 60.0,
) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with Drain(notice, limit_seconds=limit).installed() as drain:
            started()
            drain.started = True
            yield
            await asyncio.to_thread(ended)

    paths = {
        "/": pid,
        "/slow": slow,
        "/metered": metered,
        "/metrics": figures,
        "/long": long,
        "/block": block,
    }
    app = Starlette(routes=[Route(*path) for path in paths.items()], lifespan=lifespan)
    app.state.metrics = Metrics(shared_folder())
    return app


def sound() -> Starlette:
    return application()


def lasting() -> Starlette:
    """An application whose notice does not end."""
    return application(notice=3600)


def stuck() -> Starlette:
    """An application with a call in a thread that does not return."""
    return application(ended=partial(time.sleep, 10**6), limit=0.5)


def dying() -> Starlette:
    os._exit(DIES_WITH)


def fragile() -> Starlette:
    """An application that dies at its start while the file `broken` is there."""
    if (FOLDER / "broken").exists():
        os._exit(DIES_WITH)
    return application()


def importing() -> Starlette:
    import no_such_module  # type: ignore[import-not-found]  # noqa: F401, PLC0415

    return application()


def failing() -> Starlette:
    def fail() -> None:
        structlog.get_logger().critical("no model to serve", reason="none")
        raise RuntimeError

    return application(fail)


def main(factory: str, workers: int, **options: Any) -> int:
    from app.startup import metrics_folder  # noqa: PLC0415 -- takes its time, and not the workers'

    supervisor.RETRY_SECONDS = 0.1
    config = Config(
        f"tests.server.fake:{factory}",
        configure_logging=partial(configure_logging, json=True),
        port=0,
        workers=workers,
        lifespan="on",
        ws="none",
        loop="app.server.listener:Loop",
        **{"timeout_graceful_shutdown": 60, "timeout_worker_healthcheck": 60, **options},
    )
    return 0 if run(config, metrics_folder) else 3


if __name__ == "__main__":
    if len(sys.argv) > 3:
        supervisor.STOP_MARGIN_SECONDS = 0.0
    limits = {"timeout_graceful_shutdown": int(sys.argv[3])} if len(sys.argv) > 3 else {}
    sys.exit(main(sys.argv[1], int(sys.argv[2]), **limits))

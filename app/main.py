"""The application: what is built, in which order, and how it is taken down."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from . import memory
from .api import openapi
from .api.middleware import BrowserRules, Keys, read_key_hashes
from .api.payload import Intake
from .api.routes import WEB, Predictions, problem_response, refusal, routes
from .errors import (
    INTERNAL_ERROR,
    OUTSIDE,
    BadQuery,
    DigitsError,
    ModelError,
)
from .inference.loading import load
from .inference.registry import Versions
from .observe.metrics import Metrics, Telemetry, configure_logging
from .server.shutdown import Drain
from .serving.batcher import Batcher
from .serving.deadlines import Deadlines
from .serving.predictor import Recognizer
from .serving.state import State
from .serving.turn import Turn
from .settings import Settings

log = structlog.get_logger()

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter from others that want it. Python's 5 ms is longer than
a model call of 16 images: at full load the loop and the inference threads mostly waited for each
other, and under twice the load that can be served a third less was served."""

DESCRIPTION = """Reads handwritten digits: send a photo, a scan, a drawing or pixels to `/predict`,
and get the digit with an honest probability, or a clear word that there is none."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Without settings it is what a server runs: it reads the environment, and
    sends the process's logs to stderr.
    """
    is_server = settings is None
    if settings is None:
        settings = Settings()
        sys.setswitchinterval(SWITCH_SECONDS)
        memory.keep_freed()
        memory.seldom_collect()
        configure_logging(json=settings.log_json)
    metrics = Metrics()
    hashes = read_key_hashes(settings.api_keys_file) if settings.api_keys_file else frozenset()
    app = FastAPI(
        title="Digits",
        version="0.1.0",
        description=DESCRIPTION,
        lifespan=partial(
            lifespan, settings=settings, metrics=metrics, key_hashes=hashes, is_server=is_server
        ),
        redoc_url=None,
    )
    app.openapi = partial(openapi.document, app, locked=bool(hashes))  # type: ignore[method-assign]
    app.include_router(routes)
    app.mount("/web", StaticFiles(directory=WEB))
    for error, answer in {
        DigitsError: _refuse,
        RequestValidationError: _refuse_parameter,
        HTTPException: _refuse_request,
    }.items():
        app.add_exception_handler(error, answer)
    # From the inside out.
    app.add_middleware(Predictions)
    # A refused key is counted and has its ID; a browser may read why, and may
    # ask before it sends one.
    if hashes:
        app.add_middleware(Keys, hashes=hashes)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=("X-Request-ID", "Retry-After"),
        )
    app.add_middleware(Telemetry, metrics=metrics, log_requests=settings.log_requests)
    app.add_middleware(BrowserRules)
    return app


@asynccontextmanager
async def lifespan(
    app: FastAPI,
    *,
    settings: Settings,
    metrics: Metrics,
    key_hashes: frozenset[str],
    is_server: bool,
) -> AsyncIterator[dict[str, State]]:
    """Load the model, start the threads, watch for a newer version; then the same backwards."""
    drain = Drain(settings.drain_notice_seconds)
    with drain.installed():
        versions = Versions(
            settings.models_dir,
            partial(load, intra_op_threads=settings.intra_op_threads, max_batch=settings.max_batch),
            pinned=settings.model_version,
            on_reload=metrics.count_reload,
        )
        try:
            await versions.start()
        except ModelError as error:
            log.critical("no model to serve", reason=str(error))
            raise
        batcher = Batcher(
            threads=settings.inference_threads,
            max_batch=settings.max_batch,
            max_images=settings.max_waiting_images,
            on_batch=metrics.count_batch,
        )
        recognizer = Recognizer(versions, batcher, settings)
        watch = asyncio.create_task(versions.watch(settings.reload_seconds))
        settling = asyncio.create_task(metrics.keep_settled())
        drain.started = True
        if is_server:
            asyncio.get_running_loop().run_in_executor(None, memory.use_large_pages)
        log.info("ready", model=versions.live.name, version=versions.live.version)
        intake = Intake(settings.max_held_bytes)
        turn = Turn(batcher, recognizer, max_images=settings.max_batch)
        deadlines = Deadlines(settings.deadline_seconds)
        state = State(
            settings,
            metrics,
            drain,
            intake,
            versions,
            batcher,
            recognizer,
            turn,
            deadlines,
            key_hashes,
        )
        yield {"digits": state}
        deadlines.close()
        watch.cancel()
        settling.cancel()
        await batcher.close()
        await recognizer.close()


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, DigitsError)  # noqa: S101 -- as registered
    return refusal(request, error)


async def _refuse_parameter(request: Request, error: Exception) -> Response:
    # The names are ours; the values are the caller's and are not repeated.
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- as registered
    names = sorted({str(fault["loc"][1]) for fault in error.errors()})
    return refusal(request, BadQuery(f"Not acceptable: {', '.join(names)}."))


async def _refuse_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- as registered
    problem = next((p for p in OUTSIDE if p.status == error.status_code), INTERNAL_ERROR)
    return problem_response(request, problem, problem.remedy, error.headers)

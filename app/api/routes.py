"""The routes people use. What fails raises; no route catches."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import (
    PROBLEMS_BY_SLUG,
    ClientGone,
    DeadlineExceeded,
    DigitsError,
    Problem,
    Unavailable,
    problem_for,
    problem_json,
)
from ..server.exchange import GONE
from ..serving.batcher import Job
from ..serving.deadlines import EXPIRED
from ..serving.predictor import Asked
from ..serving.state import State
from . import payload, schemas
from .openapi import PREDICT_BODY, problems
from .response import answer

PATIENCE_SECONDS = 0.05
"""How long an answer may take before it is worth watching whether anyone still waits for it."""

WEB = Path(__file__).parents[1] / "web"

routes = APIRouter()


class Predictions:
    """ASGI layer that answers `POST /predict` without parameters before FastAPI sees it: routes,
    exit stacks and the search for parameters took longer than the inference. What has parameters
    goes on to the route, which is also what the document shows.

    While the queue is full neither is looked at: what a refusal costs is taken from those who are
    answered.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["path"], scope["method"]) != ("/predict", "POST"):
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            state(request).batcher.admit(1)
            if scope["query_string"] or "x-deadline-seconds" in request.headers:
                await self.app(scope, receive, send)
                return
            scope["route"] = PREDICT
            response = await predict(request)
        except DigitsError as error:
            response = refusal(request, error)
        await response(scope, receive, send)


def state(request: Request) -> State:
    """What the lifespan built."""
    return cast("State", request.state.digits)


def json_response(value: Any, status: int = 200) -> Response:
    return Response(schemas.encode(value), status, media_type="application/json")


def refusal(request: Request, error: DigitsError) -> Response:
    """The problem document that `error` becomes."""
    headers = None
    if isinstance(error, Unavailable):
        headers = {"retry-after": str(state(request).settings.retry_after_seconds)}
    return problem_response(request, problem_for(error), str(error), headers)


def problem_response(
    request: Request, problem: Problem, detail: str, headers: Mapping[str, str] | None
) -> Response:
    body = problem_json(problem, detail, request_id=request.state.request_id)
    return Response(body, problem.status, headers, media_type="application/problem+json")


@routes.post(
    "/predict",
    response_model=schemas.Answer,
    responses=problems(400, 408, 413, 415, 422, 431, 503, 504),
    openapi_extra={"requestBody": PREDICT_BODY},
    summary="Read digits",
)
async def predict(
    request: Request,
    normalize: Annotated[
        bool, Query(description="`false` takes 28×28 input as it is, white ink on black.")
    ] = True,
    include: Annotated[
        list[Literal["seen"]], Query(description="`seen` adds what the model saw.")
    ] = [],  # noqa: B006 -- FastAPI copies it
    x_deadline_seconds: Annotated[
        Annotated[float, Field(gt=0)] | SkipJsonSchema[None],
        Header(description="Seconds until the answer is of no use; at most the setting."),
    ] = None,
) -> Response:
    """One prediction an image, in order, with calibrated probabilities."""
    here = state(request)
    settings = here.settings
    with here.intake.open() as hold:
        body = await payload.read(request, hold, max_body_bytes=settings.max_body_bytes)
        here.batcher.admit(1)  # again: the body took its time, and none is parsed in vain
        images = await _parse(request, body)
        with here.batcher.reserve(len(images)) as job:
            deadline = min(
                x_deadline_seconds or settings.deadline_seconds, settings.deadline_seconds
            )
            with Attendance(request, job, deadline):
                asked = Asked(images, as_is=not normalize)
                classifier, readings = await here.recognizer.read(asked, job)
    here.metrics.count_predictions(classifier.version, [one.rejected for one in readings])
    body = answer(classifier, readings, seen="seen" in include)
    return Response(body, media_type="application/json")


PREDICT = routes.routes[-1]


async def _parse(request: Request, body: bytes) -> list[payload.RawImage]:
    settings = state(request).settings
    content_type = request.headers.get("content-type", "").encode("latin-1")
    limits = {"max_images": settings.max_images, "max_pixels": settings.max_pixels}
    if len(body) <= payload.IN_LOOP_BYTES:
        return payload.parse(body, content_type, **limits)
    return await asyncio.to_thread(payload.parse, body, content_type, **limits)


class Attendance:
    """Gives the job up when its deadline passes or its client goes, unless it runs by then. Most
    have their answer before anyone need look, and cost one timer.
    """

    def __init__(self, request: Request, job: Job, deadline_seconds: float) -> None:
        self.request = request
        self.job = job
        self.loop = asyncio.get_running_loop()
        self.deadline = self.loop.time() + deadline_seconds
        self.watch: asyncio.Task[None] | None = None
        self.timer = self.loop.call_later(min(PATIENCE_SECONDS, deadline_seconds), self._look)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        self.timer.cancel()
        if self.watch:
            self.watch.cancel()

    def _look(self) -> None:
        self.watch = self.loop.create_task(_until_gone(self.request, self.job))
        expired = DeadlineExceeded(EXPIRED)
        self.timer = self.loop.call_at(self.deadline, self.job.abandon, expired)


async def _until_gone(request: Request, job: Job) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.abandon(ClientGone(GONE))


@routes.get(
    "/healthz",
    response_model=schemas.Health,
    responses={503: {"model": schemas.Health}},
    summary="Can this process answer correctly?",
)
async def healthz(request: Request) -> Response:
    """200 only while the model is loaded and tested and the inference threads turn."""
    here = state(request)
    return _health(here, here.ailment())


@routes.get(
    "/readyz",
    response_model=schemas.Health,
    responses={503: {"model": schemas.Health}},
    summary="Should this process be sent requests?",
)
async def readyz(request: Request) -> Response:
    """As `/healthz`, and not draining."""
    here = state(request)
    return _health(here, "The process is about to stop." if here.drain.began else here.ailment())


def _health(here: State, ailment: str | None) -> Response:
    live = here.versions.live
    return json_response(
        {
            "status": "unavailable" if ailment else "ok",
            "model": {"name": live.name, "version": live.version},
            "detail": ailment or here.versions.rejected,
        },
        503 if ailment else 200,
    )


@routes.get("/livez", response_model=schemas.Health, summary="Does the process turn?")
async def livez() -> Response:
    """200 whenever the event loop turns."""
    return json_response({"status": "ok", "model": None, "detail": None})


@routes.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The page that lets people draw and see."""
    return FileResponse(WEB / "index.html")


@routes.get("/model", summary="The live model's card")
async def model(request: Request) -> dict[str, Any]:
    """What the model was trained on and how, every measured figure, and its thresholds."""
    return dict(state(request).versions.live.card)


@routes.get("/metrics", summary="Figures for Prometheus", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Counters, gauges and histograms in Prometheus' text format."""
    here = state(request)
    here.metrics.waiting_images.set(here.batcher.reserved)
    here.metrics.held_bytes.set(here.intake.held_bytes)
    here.metrics.model_version.set(int(here.versions.live.version))
    return Response(here.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


@routes.get("/problems/{slug}", summary="What a problem's type means", responses=problems(404))
async def problem(
    slug: Annotated[str, Field(json_schema_extra={"enum": list(PROBLEMS_BY_SLUG)})],
) -> dict[str, Any]:
    """The explanation at the address that a problem document's `type` names."""
    known = PROBLEMS_BY_SLUG.get(slug)
    if known is None:
        raise HTTPException(404)
    return {
        "type": f"/problems/{slug}",
        "title": known.title,
        "status": known.status,
        "remedy": known.remedy,
    }

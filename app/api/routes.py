"""The routes beside `/predict`: health, metrics, the model's card, problems."""

from __future__ import annotations

from math import isnan
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field

from ..errors import PROBLEMS
from ..observe.drift import MIN_IMAGES, Report
from . import schemas
from .head import GetRoute
from .model_page import model_page
from .mount import root_path_of
from .openapi import PAGE, problem_responses
from .pages import problem_page, wants_page
from .problems import describe_problem
from .response import encode
from .services import Services, services_of

routes = APIRouter(route_class=GetRoute)


@routes.get(
    "/healthz",
    operation_id="healthz",
    tags=["health"],
    response_model=schemas.Health,
    responses={503: {"model": schemas.Health}},
    summary="Can this process answer correctly?",
)
async def healthz(request: Request) -> Response:
    """200 only while the model is loaded and tested and the worker threads turn."""
    services = services_of(request.scope)
    return _health(services, services.health.unhealthy_reason())


@routes.get(
    "/readyz",
    operation_id="readyz",
    tags=["health"],
    response_model=schemas.Health,
    responses={503: {"model": schemas.Health}},
    summary="Should this process be sent requests?",
)
async def readyz(request: Request) -> Response:
    """As `/healthz`, and not draining."""
    services = services_of(request.scope)
    return _health(services, services.health.unready_reason())


def _health(services: Services, reason: str | None) -> Response:
    live = services.registry.live
    content = {
        "status": "unavailable" if reason else "ok",
        "model": {"name": live.name, "version": live.version},
        "detail": reason or services.registry.rejected,
    }
    return Response(encode(content), 503 if reason else 200, media_type="application/json")


@routes.get(
    "/livez",
    operation_id="livez",
    tags=["health"],
    response_model=schemas.Health,
    summary="Does the process turn?",
)
async def livez() -> Response:
    """200 whenever the event loop turns."""
    content = {"status": "ok", "model": None, "detail": None}
    return Response(encode(content), media_type="application/json")


@routes.get(
    "/model",
    operation_id="model",
    tags=["model"],
    summary="The live model's card",
    response_model=dict[str, Any],
    responses={200: PAGE},
)
async def model(request: Request, response: Response) -> Any:
    """What the model was trained on and how, every measured figure, and its thresholds.

    `drift` compares what came lately with the card's reference; null where too little came.
    """
    services = services_of(request.scope)
    card = {**services.registry.live.card, "drift": _drift(services)}
    if wants_page(request):
        return model_page(card)
    response.headers["vary"] = "Accept"
    return card


def _drift(services: Services) -> dict[str, Any]:
    metrics = services.metrics
    return {
        "window_seconds": services.settings.drift_seconds,
        "least_images": MIN_IMAGES,
        **_figures(metrics.drift()),
        "numbers": _figures(metrics.number_drift()),
    }


def _figures(report: Report) -> dict[str, Any]:
    figures = {
        name: {key: None if isnan(figure) else round(figure, 6) for key, figure in each.items()}
        for name, each in report._asdict().items()
        if name != "images"
    }
    return {"images": report.images, **figures}


@routes.get(
    "/metrics",
    operation_id="metrics",
    tags=["health"],
    summary="Figures for Prometheus",
    response_class=PlainTextResponse,
)
async def metrics(request: Request) -> Response:
    """Counters, gauges and histograms in Prometheus' text format."""
    services = services_of(request.scope)
    return Response(services.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


@routes.get(
    "/problems/{slug}",
    operation_id="problem",
    tags=["problems"],
    summary="What a problem's type means",
    response_model=dict[str, Any],
    responses={200: PAGE, **problem_responses(404)},
)
async def problem(
    request: Request,
    response: Response,
    slug: Annotated[str, Field(json_schema_extra={"enum": list(PROBLEMS)})],
) -> Any:
    """The explanation at the address that a problem document's `type` names."""
    explained = describe_problem(slug, root_path_of(request.scope))
    if wants_page(request):
        return problem_page(explained)
    response.headers["vary"] = "Accept"
    return explained

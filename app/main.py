"""The application: what is built, in which order, and how it is taken down."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp

from .api import openapi
from .api.feedback import FeedbackEndpoint
from .api.formats import parse_all
from .api.middleware import ApiKeyMiddleware, TelemetryMiddleware, read_key_hashes
from .api.mount import RootPathMiddleware, SlashRedirect
from .api.pages import page_files, pages
from .api.predict import PredictEndpoint
from .api.problems import handle_error
from .api.read import ReadEndpoint
from .api.routes import routes
from .api.services import Services
from .errors import PROBLEMS, DigitsError, ModelError, VolumeFull
from .inference.classifier import Classifier, Rejection
from .inference.judge import RowRejection
from .inference.loading import load
from .inference.pointer import Pointer
from .inference.registry import ModelRegistry, version_to_serve
from .observe.health import Health
from .observe.logs import configure_logging, native_lines
from .observe.metrics import Metrics, shared_folder
from .observe.traces import TraceMiddleware, provider_to
from .protocols import oip, tfs
from .server.shutdown import Drain
from .serving.feedback import FeedbackFolder
from .serving.limits import Admission
from .serving.microbatch import MicroBatcher
from .serving.predictor import Predictor
from .serving.reader import Reader
from .serving.sample import UncertainSample
from .serving.shadow import NUMBER_OUTCOMES, OUTCOMES, Shadow
from .serving.workers import WorkerPool
from .settings import Settings, available_bytes
from .vision.stroke import measure

if TYPE_CHECKING:
    from .server.calls import CallServer

log = structlog.get_logger()

VERSION = "0.1.0"
DESCRIPTION = """Reads handwritten digits: send a photo, a scan, a drawing or pixels to `/predict`,
and get the digit with an honest probability, or a clear word that there is none."""
PREDICT_STATUSES = (
    200,
    *sorted({error.status for error in PROBLEMS.values()} - {VolumeFull.status}),
)
"""Statuses of predictions' routes whose counters are there at 0 before the first of them."""
SWITCH_SECONDS = 0.001
"""How long the event loop waits at most for a worker thread that runs Python; Python's own choice
is five times as long, at each of a request's steps."""
CLOSE_SECONDS = 1.0
"""How long worker threads are waited for when everything accepted has been answered."""
DRAIN_MARGIN_SECONDS = 2.0
"""From the end of the drain to the end of the process, whatever threads still do."""


class Application(FastAPI):
    """FastAPI with the middleware that is of use here, and plain ASGI routes before its own.

    Three layers of its own would stand before them, a twenty-fifth of a small request's time:
    failures are `TelemetryMiddleware`'s, bodies are limited by `read_body`, and nothing is traced.

    Attributes:
        plain_routes: Need nothing of what FastAPI does for each request, another twenty-fifth.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.plain_routes: list[BaseRoute] = []

    def build_middleware_stack(self) -> ASGIApp:
        """What surrounds the routes, from the inside out."""
        app: ASGIApp = Router(
            self.plain_routes,
            redirect_slashes=False,  # `SlashRedirect` does it
            default=AsyncExitStackMiddleware(self.router),
            lifespan=self.router.lifespan_context,
        )
        app = ExceptionMiddleware(app, handlers=self.exception_handlers)
        for cls, args, options in reversed(self.user_middleware):
            app = cls(app, *args, **options)
        return app


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application.

    Args:
        settings: Without, it is what a server runs: it reads the environment, and sends the
            process's logs to stderr.
    """
    if settings is None:
        settings = Settings()
        configure_logging(json=settings.log_json)
    metrics = Metrics(
        shared_folder(),
        version=VERSION,
        reasons=Rejection,
        number_reasons=RowRejection,
        measure=measure,
        drift_seconds=settings.drift_seconds,
    )
    feedback = feedback_folder(settings)
    hashes = read_key_hashes(settings.api_keys_file) if settings.api_keys_file else frozenset()
    app = Application(
        title="Digits",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=partial(lifespan, settings=settings, metrics=metrics, feedback=feedback),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.openapi = partial(  # type: ignore[method-assign]
        openapi.document,
        app,
        locked=bool(hashes),
        feedback=feedback is not None,
        root_path=settings.root_path,
    )
    add_routes(app, feedback)
    if settings.grpc_port:
        add_calls(app)
    for error in (DigitsError, RequestValidationError, HTTPException):
        app.add_exception_handler(error, handle_error)
    add_middleware(app, settings, metrics, hashes)
    if settings.traces_endpoint:
        provider = provider_to(settings.traces_endpoint, version=VERSION)
        app.state.tracer_provider = provider
        app.add_middleware(TraceMiddleware, provider=provider)
    return app


def feedback_folder(settings: Settings) -> FeedbackFolder | None:
    """Where feedback is kept, if it is on."""
    if settings.feedback_dir is None:
        return None
    return FeedbackFolder(
        settings.feedback_dir,
        max_bytes=settings.feedback_bytes,
        max_seconds=settings.feedback_days * 86_400,
    )


def sample_of(settings: Settings, feedback: FeedbackFolder | None) -> UncertainSample | None:
    """What keeps uncertain pictures, if that is on."""
    if feedback is None or not settings.sample_per_hour:
        return None
    return UncertainSample(feedback, per_hour=settings.sample_per_hour)


def add_routes(app: Application, feedback: FeedbackFolder | None) -> None:
    """Plain ASGI and the other protocols, before FastAPI's routes."""
    endpoints: list[PredictEndpoint | ReadEndpoint | FeedbackEndpoint] = [
        PredictEndpoint(),
        ReadEndpoint(),
    ]
    if feedback:
        endpoints.append(FeedbackEndpoint(feedback))
    own, with_slash = (
        [
            Route(endpoint.path + end, endpoint, methods=["POST"], include_in_schema=False)
            for endpoint in endpoints
        ]
        for end in ("", "/")
    )
    app.plain_routes += [*own, *oip.routes, *tfs.routes, *with_slash]
    app.include_router(routes)
    app.include_router(pages)
    app.mount("/web", page_files)
    every_route = [*app.plain_routes, *app.router.routes]
    app.router.default = SlashRedirect(every_route, otherwise=app.router.default)


def add_calls(app: Application) -> None:
    """The routes of gRPC's calls, whose packages are there if they are wanted."""
    from .protocols import oip_grpc  # noqa: PLC0415

    app.plain_routes += oip_grpc.routes


async def serve_calls(
    app: FastAPI, settings: Settings, services: Services, drain: Drain
) -> CallServer | None:
    """The gRPC server, if there is to be one, until `drain` stops it.

    Raises:
        OSError: its address can't be used.
    """
    if not settings.grpc_port:
        return None
    from .protocols.oip_grpc import INFER_PATH, METHODS, SERVICE  # noqa: PLC0415 -- for those who want it
    from .server.calls import CallServer  # noqa: PLC0415

    calls = CallServer(
        app,
        SERVICE,
        METHODS,
        state={"services": services},
        max_message_bytes=settings.max_body_bytes,
        max_metadata_bytes=settings.max_header_bytes,
        max_calls=settings.max_waiting_images,
        read_seconds=settings.body_seconds,
        idle_seconds=settings.keep_alive_seconds,
        shared=settings.workers > 1,
    )
    try:
        await calls.start(settings.host, settings.grpc_port)
    except OSError as error:
        log.critical("no gRPC calls can be taken", reason=str(error))
        raise
    services.metrics.expect_requests(INFER_PATH, "POST", PREDICT_STATUSES)
    drain.on_end_of_notice = partial(calls.stop, settings.drain_seconds)
    return calls


def add_middleware(
    app: FastAPI, settings: Settings, metrics: Metrics, hashes: frozenset[str]
) -> None:
    """From the inside out: a refused key is counted and has its ID, and a browser may read why."""
    if hashes:
        app.add_middleware(ApiKeyMiddleware, hashes=hashes)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=("X-Request-ID", "Retry-After", oip.JSON_LENGTH),
        )
    if settings.root_path:
        app.add_middleware(RootPathMiddleware, root_path=settings.root_path)
    app.add_middleware(TelemetryMiddleware, metrics=metrics, log_requests=settings.log_requests)


@asynccontextmanager
async def lifespan(
    app: FastAPI, *, settings: Settings, metrics: Metrics, feedback: FeedbackFolder | None
) -> AsyncIterator[dict[str, Services]]:
    """Load the model, start the threads, watch for a newer version; then the same backwards."""
    cv2.setNumThreads(1)  # the worker threads are the parallelism
    sys.setswitchinterval(SWITCH_SECONDS)
    limit_seconds = settings.drain_seconds + DRAIN_MARGIN_SECONDS
    with Drain(settings.drain_notice_seconds, limit_seconds=limit_seconds).installed() as drain:
        registry = ModelRegistry(
            settings.models_dir,
            partial(load_version, intra_op_threads=settings.intra_op_threads),
            pinned=settings.model_version,
            kept=settings.versions,
            on_reload=metrics.observe_reload,
        )
        try:
            await registry.start()
        except ModelError as error:
            log.critical("no model to serve", reason=" ".join(model_reasons(error)))
            raise
        shadow = await load_shadow(settings, metrics)
        services, workers = build(
            settings, metrics, registry, drain, shadow=shadow, sample=sample_of(settings, feedback)
        )
        tasks = [
            asyncio.create_task(registry.watch(settings.reload_seconds)),
            asyncio.create_task(metrics.keep_flushed()),
        ]
        if feedback:
            tasks.append(asyncio.create_task(feedback.keep_pruned()))
            metrics.expect_requests(FeedbackEndpoint.path, "POST", FeedbackEndpoint.statuses)
        report_levels(metrics, services)
        calls = await serve_calls(app, settings, services, drain)
        drain.started = True
        log.info("model is live", name=registry.live.name, version=registry.live.version)
        yield {"services": services}
        if calls:
            await calls.stopped()
        services.admission.close()
        for task in tasks:
            task.cancel()
        if shadow:
            shadow.close()
        await workers.close(CLOSE_SECONDS)
        if settings.traces_endpoint:
            await asyncio.to_thread(app.state.tracer_provider.shutdown)


def model_reasons(error: BaseException | None) -> Iterator[str]:
    """Why no version may be served: of the pointer's, and then of the one before it."""
    if isinstance(error, ModelError):
        yield from model_reasons(error.__context__)
        yield str(error)


def load_version(folder: Path, *, intra_op_threads: int) -> Classifier:
    """Load a version; what TensorFlow writes to stderr meanwhile becomes lines of the log."""
    with native_lines():
        return load(folder, intra_op_threads=intra_op_threads)


async def load_shadow(settings: Settings, metrics: Metrics) -> Shadow | None:
    """The version that reads beside the live one, if one is set and can be loaded."""
    if settings.shadow_version is None:
        return None
    try:
        folder = version_to_serve(settings.models_dir, settings.shadow_version)
        classifier = await asyncio.to_thread(
            load_version, folder, intra_op_threads=settings.intra_op_threads
        )
    except ModelError as error:  # no reason not to serve
        log.error("no shadow", reason=str(error))  # noqa: TRY400 -- the reason says all
        return None
    version = classifier.version
    metrics.expect_shadow(version, OUTCOMES, NUMBER_OUTCOMES)
    log.info("shadow reads along", version=version)
    return Shadow(
        classifier,
        partial(metrics.observe_shadow, version),
        partial(metrics.observe_shadow_numbers, version),
    )


def labels_of(promotion: Pointer | None) -> tuple[str, ...]:
    """The labels of `digits_promotion_info`; none where nothing was promoted."""
    if promotion is None:
        return ()
    promoted = promotion.promoted.isoformat() if promotion.promoted else ""
    forced = str(promotion.forced).lower()
    return str(promotion.version), str(promotion.previous or ""), promoted, forced


def report_levels(metrics: Metrics, services: Services) -> None:
    """Have the metrics say, whenever they are read, how full the budgets are."""
    settings, admission = services.settings, services.admission
    metrics.set_memory_limit(available_bytes())
    metrics.set_levels(
        waiting_images_limit=settings.max_waiting_images,
        body_bytes_limit=settings.body_budget_bytes,
        working_bytes_limit=settings.working_budget_bytes,
    )

    def report() -> None:
        live = services.registry.live
        metrics.set_model(live.name, live.version, live.card)
        metrics.set_promotion(*labels_of(services.registry.promotion))
        metrics.set_refused(services.registry.rejected is not None)
        for version in services.registry.versions:
            metrics.expect_predictions(version)
        metrics.set_levels(
            waiting_images=admission.images.held,
            body_bytes=admission.bodies.held,
            working_bytes=admission.working.held,
        )

    metrics.on_flush = report
    metrics.expect_requests("/healthz", "GET", (200, 503))
    for path in (PredictEndpoint.path, ReadEndpoint.path, *tfs.PREDICT_PATHS, *oip.INFER_PATHS):
        metrics.expect_requests(path, "POST", PREDICT_STATUSES)


def build(
    settings: Settings,
    metrics: Metrics,
    registry: ModelRegistry,
    drain: Drain,
    *,
    shadow: Shadow | None = None,
    sample: UncertainSample | None = None,
) -> tuple[Services, WorkerPool]:
    """The working parts of the process, on the running event loop."""
    admission = Admission(
        max_waiting_images=settings.max_waiting_images,
        body_bytes=settings.body_budget_bytes,
        working_bytes=settings.working_budget_bytes,
    )
    workers = WorkerPool(
        threads=settings.worker_threads, max_batch_cost=settings.thread_batch_cost_pixels
    )
    costs = {
        "inline_cost": settings.inline_cost_pixels,
        "batch_cost": settings.batch_cost_pixels,
    }
    predictor = Predictor(registry, max_pixels=settings.max_pixels, on_batch=metrics.observe_batch)
    reader = Reader(registry, max_pixels=settings.max_pixels, on_batch=metrics.observe_batch)
    services = Services(
        settings=settings,
        metrics=metrics,
        health=Health(registry, workers, drain, stall_seconds=settings.stall_seconds),
        registry=registry,
        admission=admission,
        parser=MicroBatcher(parse_all, workers, **costs),
        predictor=predictor,
        predictions=MicroBatcher(predictor.predict, workers, **costs),
        reader=reader,
        numbers=MicroBatcher(reader.read, workers, **costs),
        shadow=shadow,
        sample=sample,
    )
    return services, workers

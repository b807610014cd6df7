"""What the lifespan builds, and the routes use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from starlette.types import Scope

from ..inference.registry import ModelRegistry
from ..observe.health import Health
from ..observe.metrics import Metrics
from ..serving.limits import Admission
from ..serving.microbatch import MicroBatcher
from ..serving.predictions import Predictions
from ..serving.predictor import Predictor, PredictRequest
from ..serving.reader import Numbers, Reader, ReadRequest
from ..serving.sample import UncertainSample
from ..serving.shadow import Shadow
from ..settings import Settings
from .formats import Parseable


@dataclass(frozen=True, slots=True)
class Services:
    """The working parts of one process."""

    settings: Settings
    metrics: Metrics
    health: Health
    registry: ModelRegistry
    admission: Admission
    parser: MicroBatcher[Parseable[Any], Any]
    predictor: Predictor
    predictions: MicroBatcher[PredictRequest, Predictions]
    reader: Reader
    numbers: MicroBatcher[ReadRequest, Numbers]
    shadow: Shadow | None = None
    sample: UncertainSample | None = None


def services_of(scope: Scope) -> Services:
    """The services of the application that `scope` belongs to."""
    return cast("Services", scope["state"]["services"])

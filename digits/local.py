"""Predictions without a service: the service's own code, in this process.

The service's code (`digits.app` where the package is installed, `app` in a checkout) is imported
when a reader is made, and not before: the client does without it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Self

from .errors import DigitsError, Problem, problem_from
from .images import Content, Image, batches, read
from .results import Model, Outcome, Prediction, parse_predictions

PACKAGE = Path(__file__).parent
IS_INSTALLED = (PACKAGE / "app").is_dir()
SERVICE = "digits.app" if IS_INSTALLED else "app"
"""Name of the service's package."""
MODELS = (PACKAGE if IS_INSTALLED else PACKAGE.parent) / "models" / "digits"
"""Folder of the versions that ship."""
LITERT = "ai_edge_litert"
NATIVE_INFO = b"INFO: "
BATCH_SIZE = 32
"""Images that share a model call."""


class LocalUnavailable(DigitsError):
    """This installation can't read without a service; the message says what is missing."""


class LocalReader:
    """Reads digits with the service's code and model, and has the service's answers.

    The model runs by ai-edge-litert where that is installed, else by TensorFlow. Limits and the
    version are the service's, from the same `DIGITS_*` variables. Not safe for threads.

    Raises:
        LocalUnavailable: Packages are missing, or a variable is wrong.
        Problem: The model can't be used.
    """

    def __init__(self) -> None:
        try:
            _keep_logs_off_stdout()
            self._errors = _import("errors")
            self._formats = _import("api.formats")
            self._encode = _import("api.response").encode_predictions
            limits, predictor = _import("serving.limits"), _import("serving.predictor")
            settings = _import("settings").Settings()
        except ImportError as error:
            raise LocalUnavailable(
                f"{error}. Reading without a service needs the extra `local`: in a checkout, "
                "pip install '.[local]'."
            ) from error
        except ValueError as error:  # by pydantic, with a line for each variable
            raise LocalUnavailable(str(error)) from error
        self._deadline_seconds: float = settings.deadline_seconds
        self._admission = limits.Admission(
            max_waiting_images=settings.max_waiting_images,
            body_bytes=settings.body_budget_bytes,
            working_bytes=settings.working_budget_bytes,
        )
        self._classifier = self._load(settings)
        registry = SimpleNamespace(live=self._classifier)
        self._predictor = predictor.Predictor(registry, max_pixels=settings.max_pixels)

    def predict(
        self, image: Image, *, normalize: bool = True, include_seen: bool = False
    ) -> Prediction:
        """Read `image`; see `Client.predict`."""
        (result,) = self._predict([read(image)], normalize=normalize, include_seen=include_seen)
        if isinstance(result, DigitsError):
            raise result
        return result

    def predict_many(
        self, images: Iterable[Image], *, normalize: bool = True, include_seen: bool = False
    ) -> Iterator[Outcome]:
        """Read any number of images, an outcome for each, in order; see `Client.predict_many`."""
        for batch in batches(images, BATCH_SIZE):
            contents = [item.content for item in batch if item.content is not None]
            results = iter(self._predict(contents, normalize=normalize, include_seen=include_seen))
            for item in batch:
                result = item.error or next(results)
                if isinstance(result, DigitsError):
                    yield Outcome(item.source, error=result)
                else:
                    yield Outcome(item.source, result)

    def card(self) -> dict[str, Any]:
        """Return the model's card: how it was trained, its figures and thresholds."""
        return dict(self._classifier.card)

    def model(self) -> Model:
        """Return the name and version of the model."""
        return Model(self._classifier.name, self._classifier.version)

    def close(self) -> None:
        """Do nothing: there is nothing to close; it is there because `Client` has it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _load(self, settings: Any) -> Any:
        loading, registry = _import("inference.loading"), _import("inference.registry")
        is_set = "models_dir" in settings.model_fields_set
        load = loading.load_programs if importlib.util.find_spec(LITERT) else loading.load
        try:
            folder = registry.version_to_serve(
                settings.models_dir if is_set else MODELS, settings.model_version
            )
            return load(folder)
        except self._errors.ModelError as error:
            raise _problem_of(error) from error

    def predict_raw(self, contents: Sequence[Content], *, normalize: bool = True) -> list[Any]:
        """Return the service's own `Predictions`, or the problem there is, for each image."""
        results: dict[int, Any] = {}
        requests: dict[int, Any] = {}
        for index, content in enumerate(contents):
            try:
                requests[index] = self._prepare(content, normalize=normalize)
            except self._errors.DigitsError as error:
                results[index] = _problem_of(error)
        outcomes = self._predictor.predict([*requests.values()])
        for index, outcome in zip(requests, outcomes, strict=True):
            if isinstance(outcome, self._errors.DigitsError):
                results[index] = _problem_of(outcome)
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                results[index] = outcome
        return [results[index] for index in range(len(contents))]

    def _predict(
        self, contents: Sequence[Content], *, normalize: bool, include_seen: bool
    ) -> list[Prediction | Problem]:
        """Return a prediction, or the problem there is, for each image."""
        return [
            raw if isinstance(raw, Problem) else self._parsed(raw, include_seen=include_seen)
            for raw in self.predict_raw(contents, normalize=normalize)
        ]

    def _parsed(self, predictions: Any, *, include_seen: bool) -> Prediction:
        answer = json.loads(self._encode(predictions, seen=include_seen))
        (prediction,) = parse_predictions(answer, 1)
        return prediction

    def _prepare(self, content: Content, *, normalize: bool) -> Any:
        """Parse and charge an image as a request of its own, so that its failure is its own."""
        body, media_type = content.data, b"image/*"
        if content.is_json:
            body, media_type = b'{"image":' + body + b"}", b"application/json"
        deadline = time.monotonic() + self._deadline_seconds
        with self._admission.open_lease(deadline) as lease:
            images = self._formats.parse(body, media_type, max_images=1)
            request = self._predictor.prepare(images, lease, normalize=normalize)
            with suppress(StopIteration):  # nobody else has a lease, so it never waits
                lease.charge_working(request.working_bytes).send(None)
            return request


@contextmanager
def without_native_info() -> Iterator[None]:
    """Leave out what LiteRT says of how it computes, which it writes to descriptor 2 itself.

    For a process of our own: what its other threads write is held back, too, until the end.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            for line in written:
                if not line.startswith(NATIVE_INFO):
                    os.write(2, line)


def _import(module: str) -> ModuleType:
    return importlib.import_module(f"{SERVICE}.{module}")


def _problem_of(error: Any) -> Problem:
    """Return what the service's `error` is for a client."""
    document = {"type": f"/problems/{error.slug}", "title": error.title, "detail": error.detail}
    return problem_from(document, status=error.status)


def _keep_logs_off_stdout() -> None:
    """Have the service's warnings on stderr: unless told, structlog writes all to stdout."""
    import structlog  # noqa: PLC0415 -- an extra

    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )

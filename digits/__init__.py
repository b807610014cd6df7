"""Reads handwritten digits: the client of the service, and the same code without a service.

Example:
    with Client() as client:
        print(client.predict("seven.png").label)
"""

from __future__ import annotations

try:
    from .client import AsyncClient, Client
    from .errors import (
        BadParameter,
        ConnectionFailed,
        DeadlineExceeded,
        DigitsError,
        ImageError,
        InvalidArgument,
        PayloadTooLarge,
        Problem,
        ServiceError,
        SourceError,
        TimedOut,
        Unauthorized,
        Unavailable,
        UnexpectedAnswer,
    )
    from .local import LocalReader, LocalUnavailable
    from .results import Alternative, Model, Number, NumberDigit, Outcome, Prediction, Seen, SeenRow
    from .retries import Retries
except ModuleNotFoundError as error:
    if error.name != "httpx":
        raise
    raise ModuleNotFoundError(
        "digits needs httpx, and the command rich: pip install httpx rich",
        name=__name__,  # so that `python -m digits` says this in a line
    ) from None

__all__ = [
    "Alternative",
    "AsyncClient",
    "BadParameter",
    "Client",
    "ConnectionFailed",
    "DeadlineExceeded",
    "DigitsError",
    "ImageError",
    "InvalidArgument",
    "LocalReader",
    "LocalUnavailable",
    "Model",
    "Number",
    "NumberDigit",
    "Outcome",
    "PayloadTooLarge",
    "Prediction",
    "Problem",
    "Retries",
    "Seen",
    "SeenRow",
    "ServiceError",
    "SourceError",
    "TimedOut",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
]

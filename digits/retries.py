"""When to try again, how often, and after how long."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from .errors import ConnectionFailed, DigitsError, ServiceError, TimedOut, Unavailable

GATEWAY_STATUSES = (500, 502)
"""Of what stands before replicas and has lost the one that it asked: nginx and HAProxy say 502, Ray
Serve 500. The service's own failures have a problem document."""


@dataclass(frozen=True, slots=True)
class Retries:
    """The rule for trying again: a request reads images and changes nothing, so it may be repeated.

    Tried again is what the service calls temporary (503, 429), and what has no answer because the
    connection was refused or cut off, or a replica died behind a gateway. What timed out is not:
    the service works on it already.

    Attributes:
        attempts: Requests at most, the first included.
        total_seconds: Seconds of waiting at most, of all attempts together.
        first_seconds: The first wait where the service names none; each further one is twice as
            long. Half to all of it is waited, by chance: clients that were refused together do not
            come back together.
    """

    attempts: int = 6
    total_seconds: float = 30.0
    first_seconds: float = 0.25

    def delay(self, error: DigitsError, attempt: int, waited: float) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give up.

        Args:
            error: Why the last attempt failed.
            attempt: Its number, from 1.
            waited: Seconds waited so far.
        """
        is_temporary = isinstance(error, Unavailable | ConnectionFailed) or _is_gateways(error)
        if attempt >= self.attempts or not is_temporary or isinstance(error, TimedOut):
            return None
        backoff = self.first_seconds * 2 ** (attempt - 1) * random.uniform(0.5, 1)
        seconds = backoff
        if isinstance(error, Unavailable) and error.retry_after_seconds is not None:
            seconds = max(error.retry_after_seconds, backoff)
        return seconds if waited + seconds <= self.total_seconds else None


def _is_gateways(error: DigitsError) -> bool:
    return (
        isinstance(error, ServiceError)
        and error.status in GATEWAY_STATUSES
        and error.type == "about:blank"
    )


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, IndexError):
        return None

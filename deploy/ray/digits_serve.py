"""Digits as a deployment of Ray Serve: `serve run deploy/ray/serve.yaml` in a checkout.

The same ASGI application in each replica, limits of images, memory and time included. What
`python -m app` limits on connections (slow heads and bodies) is Ray's proxy's to limit.
"""

from __future__ import annotations

from ray import serve
from starlette.types import Receive, Scope, Send

from app.main import create_app


class LifespanState:
    """The application, whose requests see the state of its lifespan, as with uvicorn.

    Ray Serve starts the lifespan, but gives requests no state.
    """

    def __init__(self) -> None:
        self.state: dict[str, object] = {}
        self._app = create_app()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the lifespan or a request."""
        if scope["type"] == "lifespan":
            self.state = scope.setdefault("state", self.state)
        else:
            scope["state"] = {**self.state}
        await self._app(scope, receive, send)


def build() -> LifespanState:
    """Make a replica's application; Ray calls it in the replica."""
    return LifespanState()


@serve.deployment(
    name="Digits",
    # Of a core: one process's Python keeps one busy.
    ray_actor_options={"num_cpus": 1},
    # More are refused by the application itself, with Retry-After: DIGITS_MAX_WAITING_IMAGES.
    max_ongoing_requests=512,
    autoscaling_config={
        "min_replicas": 1,
        "max_replicas": 16,
        # Requests that a replica reads together at its best; beyond, they wait.
        "target_ongoing_requests": 32,
        "upscale_delay_s": 5,
        "downscale_delay_s": 300,
    },
    health_check_period_s=5,
    # What is accepted is answered: DIGITS_DRAIN_SECONDS.
    graceful_shutdown_timeout_s=20,
)
@serve.ingress(build)
class Digits:
    """A replica."""

    def check_health(self) -> None:
        """Have Ray replace the replica where `/healthz` would say 503.

        Raises:
            RuntimeError: It can't answer correctly.
        """
        services = self.app.state["services"]  # type: ignore[attr-defined]  # of the ingress
        if reason := services.health.unhealthy_reason():
            raise RuntimeError(reason)


application = Digits.bind()  # type: ignore[attr-defined]  # of the decorator

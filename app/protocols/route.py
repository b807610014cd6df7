"""Routes without FastAPI's own work on each request."""

from __future__ import annotations

from starlette.routing import Match, Route
from starlette.types import Scope


class ProtocolRoute(Route):
    """A route by whose path requests are counted, as they are by those of FastAPI's routes."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Say in the scope which route it is."""
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            child_scope["route"] = self
        return match, child_scope

"""That Ray Serve's deployment and its file fit each other and the application."""

from __future__ import annotations

import asyncio
import re
from importlib import import_module
from typing import Any

import pytest
import yaml

from app.settings import Settings
from tests.conftest import ROOT

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())
[APPLICATION] = CONFIG["applications"]
DEFAULTS = Settings.model_construct()


def test_the_file_names_what_there_is() -> None:
    module, _, name = APPLICATION["import_path"].partition(":")
    source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()
    assert re.search(rf"^{name} = ", source, re.MULTILINE)
    [deployment] = APPLICATION["deployments"]
    assert f'name="{deployment["name"]}"' in source
    assert CONFIG["http_options"]["port"] == DEFAULTS.port
    [places] = re.findall(r"max_ongoing_requests=(\d+)", source)
    assert int(places) == DEFAULTS.max_waiting_images
    [drain] = re.findall(r"graceful_shutdown_timeout_s=(\d+)", source)
    assert int(drain) >= DEFAULTS.drain_seconds


def test_its_settings_are_taken() -> None:
    variables = APPLICATION["runtime_env"]["env_vars"]
    values = {name.removeprefix("DIGITS_").lower(): value for name, value in variables.items()}
    assert Settings.model_validate(values).workers == 1


def test_requests_see_the_state_of_the_lifespan(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray.serve")
    module = import_module("deploy.ray.digits_serve")
    seen: list[Any] = []

    async def app(scope: dict[str, Any], receive: object, send: object) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["services"] = "all of them"
        else:
            seen.append(scope["state"])

    monkeypatch.setattr(module, "create_app", lambda: app)

    async def run() -> None:
        wrapped = module.build()
        await wrapped({"type": "lifespan", "state": {}}, None, None)
        for _ in range(2):
            await wrapped({"type": "http"}, None, None)
        seen[0]["request_id"] = "one"

    asyncio.run(run())
    assert seen == [{"services": "all of them", "request_id": "one"}, {"services": "all of them"}]

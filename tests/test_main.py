from __future__ import annotations

import threading
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from app.errors import Draining, ModelError
from app.main import create_app
from app.settings import Settings
from tests.conftest import export_stand_in, png, spoken

PNG = {"content-type": "image/png"}


def inference_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("inference-")}


def test_nothing_is_loaded_before_the_start(tmp_path: Path) -> None:
    before = inference_threads()
    app = create_app(Settings(models_dir=tmp_path / "nowhere"))
    assert inference_threads() == before
    assert app.openapi()["info"]["title"] == "Digits"


def test_what_is_built_is_taken_down(stand_in_models: Path) -> None:
    before = inference_threads()
    app = create_app(Settings(models_dir=stand_in_models, inference_threads=2, max_batch=2))
    with capture_logs() as lines, TestClient(app) as client:
        state = client.app_state["digits"]
        assert len(inference_threads() - before) == 2
        assert state.drain.started
        assert client.get("/healthz").status_code == 200
    assert inference_threads() == before
    with pytest.raises(Draining):
        state.batcher.reserve(1)
    assert {"event": "ready", "log_level": "info", "model": "digits", "version": "1"} in lines


def test_no_start_without_a_model_that_may_be_served(tmp_path: Path) -> None:
    client = TestClient(create_app(Settings(models_dir=tmp_path)))
    with capture_logs() as lines, pytest.raises(ModelError, match="no version"), client:
        pytest.fail("started")
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("no model to serve", "critical")
    assert "no version" in line["reason"]


def test_a_pinned_version_is_the_one_that_is_served(stand_in_models: Path) -> None:
    client = TestClient(create_app(Settings(models_dir=stand_in_models, model_version=2)))
    with pytest.raises(ModelError, match="no version 2"), client:
        pytest.fail("started")


def test_a_newer_version_goes_live_while_serving(stand_in: Path, tmp_path: Path) -> None:
    (tmp_path / "1").symlink_to(stand_in)
    settings = Settings(models_dir=tmp_path, max_batch=2, reload_seconds=0.01)
    with TestClient(create_app(settings)) as client:
        export_stand_in(tmp_path / "new").rename(tmp_path / "2")
        while client.get("/healthz").json()["model"]["version"] != "2":
            pass
        response = client.post("/predict?normalize=false", content=png(spoken(7)), headers=PNG)
        assert response.json()["model"] == {"name": "digits", "version": "2"}
        assert response.json()["predictions"][0]["label"] == 7
        metrics = client.get("/metrics").text
        assert 'digits_reloads_total{succeeded="true"} 1.0' in metrics
        assert "digits_model_version 2.0" in metrics

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from app.errors import Draining, ModelError
from app.inference import pointer
from app.main import create_app
from app.settings import MIB, Settings
from tests.conftest import export_stand_in, png, spoken
from tests.serving.test_reader import row

PNG = {"content-type": "image/png"}


def worker_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("worker-")}


def test_nothing_is_loaded_before_the_start(tmp_path: Path) -> None:
    before = worker_threads()
    app = create_app(Settings(models_dir=tmp_path / "nowhere"))
    assert worker_threads() == before
    assert app.openapi()["info"]["title"] == "Digits"


def test_what_is_built_is_taken_down(stand_in_models: Path) -> None:
    before = worker_threads()
    app = create_app(Settings(models_dir=stand_in_models, worker_threads=2))
    with capture_logs() as lines, TestClient(app) as client:
        services = client.app_state["services"]
        assert len(worker_threads() - before) == 2
        assert services.health.unready_reason() is None
        assert client.get("/readyz").status_code == 200
    assert worker_threads() == before
    with pytest.raises(Draining):
        services.admission.open_lease(0)
    assert {
        "event": "model is live",
        "log_level": "info",
        "name": "digits",
        "version": "1",
    } in lines


def test_the_parts_have_the_limits_of_the_settings(stand_in_models: Path) -> None:
    settings = Settings(
        models_dir=stand_in_models,
        max_images=2,
        max_waiting_images=3,
        max_body_bytes=30,
        body_budget_bytes=50,
        working_budget_bytes=16 * MIB,
        inline_cost_pixels=70,
        batch_cost_pixels=80,
        thread_batch_cost_pixels=90,
    )
    with TestClient(create_app(settings)) as client:
        services = client.app_state["services"]
        metrics = client.get("/metrics").text
    assert services.settings is settings
    admission = services.admission
    assert (admission.images.limit, admission.bodies.limit, admission.working.limit) == (
        3,
        50,
        16 * MIB,
    )
    for batcher in (services.parser, services.predictions):
        assert (batcher.inline_cost, batcher.batch_cost) == (70, 80)
        assert batcher._workers.max_batch_cost == 90
    assert "digits_waiting_images_limit 3.0" in metrics
    assert "digits_body_bytes_limit 50.0" in metrics
    assert "digits_working_bytes_limit 1.6777216e+07" in metrics


def test_no_start_without_a_model_that_may_be_served(tmp_path: Path) -> None:
    client = TestClient(create_app(Settings(models_dir=tmp_path)))
    with capture_logs() as lines, pytest.raises(ModelError, match="no version"), client:
        pytest.fail("started")
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("no model to serve", "critical")
    assert "no version" in line["reason"]


def test_the_reasons_why_neither_version_may_be_served_are_said(tmp_path: Path) -> None:
    (tmp_path / "6").mkdir()
    pointer.write(tmp_path, pointer.Pointer(version=6, previous=5))
    client = TestClient(create_app(Settings(models_dir=tmp_path)))
    with capture_logs() as lines, pytest.raises(ModelError, match="no version 5"), client:
        pytest.fail("started")
    (line,) = lines
    assert line["reason"].startswith(f"{tmp_path / '6'}: ")
    assert line["reason"].endswith(f". {tmp_path}: there is no version 5 in it.")


def test_a_pinned_version_is_the_one_that_is_served(stand_in_models: Path) -> None:
    client = TestClient(create_app(Settings(models_dir=stand_in_models, model_version=2)))
    with pytest.raises(ModelError, match="no version 2"), client:
        pytest.fail("started")


def test_a_newer_version_goes_live_while_serving(stand_in: Path, tmp_path: Path) -> None:
    (tmp_path / "1").symlink_to(stand_in)
    settings = Settings(models_dir=tmp_path, reload_seconds=0.01)
    with TestClient(create_app(settings)) as client:
        export_stand_in(tmp_path / "new").rename(tmp_path / "2")
        while client.get("/healthz").json()["model"]["version"] != "2":
            pass
        response = client.post("/predict?normalize=false", content=png(spoken(7)), headers=PNG)
        assert response.json()["model"] == {"name": "digits", "version": "2"}
        assert response.json()["predictions"][0]["label"] == 7
        metrics = client.get("/metrics").text
        assert 'digits_reloads_total{outcome="succeeded"} 1.0' in metrics
        assert 'digits_model_info{name="digits",version="2"} 1.0' in metrics


@pytest.mark.parametrize("inline_cost", [0, 2**18], ids=["in threads", "on the loop"])
def test_a_request_leaves_nothing_held(stand_in_models: Path, inline_cost: int) -> None:
    settings = Settings(models_dir=stand_in_models, inline_cost_pixels=inline_cost)
    with TestClient(create_app(settings)) as client:
        admission = client.app_state["services"].admission
        for content, kind in (
            (png(spoken(7)), "image/png"),
            (b'{"image":%s}' % str(spoken(7).tolist()).encode(), "application/json"),
            (b"text", "image/png"),
            (b"{", "application/json"),
            (png(spoken(7))[:-20], "image/png"),
        ):
            client.post("/predict?normalize=false", content=content, headers={"content-type": kind})
            held = (admission.images.held, admission.bodies.held, admission.working.held)
            assert held == (0, 0, 0)


def test_a_requests_line_has_its_steps_sizes_and_answers(stand_in_models: Path) -> None:
    settings = Settings(models_dir=stand_in_models, log_requests=True)
    with capture_logs() as lines, TestClient(create_app(settings)) as client:
        body = png(spoken(7, share=0.4))
        answer = client.post("/predict?normalize=false", content=body, headers=PNG)
        client.get("/healthz", headers={"x-request-id": "mine"})
    asked, health = (line for line in lines if line["event"] == "request")
    assert (asked["route"], asked["status"], asked["images"]) == ("/predict", 200, 1)
    assert (asked["received_bytes"], asked["sent_bytes"]) == (len(body), len(answer.content))
    assert asked["request_id"] == answer.headers["x-request-id"]
    assert (asked["labels"], asked["rejected"]) == ([7], ["uncertain"])
    assert asked["confidences"] == [
        pytest.approx(answer.json()["predictions"][0]["confidence"], abs=1e-4)
    ]
    steps = [asked[f"{step}_seconds"] for step in ("queue", "decode", "normalize", "inference")]
    assert all(seconds >= 0 for seconds in steps)
    assert health["request_id"] == "mine"
    assert "labels" not in health


def test_a_numbers_line_has_its_length_and_not_its_text(stand_in_models: Path) -> None:
    settings = Settings(models_dir=stand_in_models, log_requests=True)
    with capture_logs() as lines, TestClient(create_app(settings)) as client:
        answer = client.post("/read", content=png(row("12")), headers=PNG)
    [asked] = (line for line in lines if line["event"] == "request")
    [number] = answer.json()["numbers"]
    assert (asked["route"], asked["images"]) == ("/read", 1)
    assert asked["lengths"] == [len(number["digits"])]
    assert asked["rejected"] == [number["rejected"]]
    assert asked["confidences"] == [pytest.approx(number["confidence"], abs=1e-4)]
    assert not {"labels", "text", "texts"} & asked.keys()

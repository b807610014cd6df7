from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from app.observe.families import DERIVED, FAMILIES, LEVELS, SECONDS, Family
from app.observe.metrics import Metrics, shared_folder
from benchmarks.columns import Columns
from tests.conftest import ROOT


class Predicted(NamedTuple):
    label: int | None
    confidence: float
    rejected: str | None = None
    normalized: Any = None


class Steps(NamedTuple):
    queue: list[float]
    decode: float
    normalize: float
    inference: float


def figure(metrics: Metrics, series: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(series, labels)


def request(metrics: Metrics, status: int = 200, seconds: float = 0.1) -> None:
    metrics.begin_request()
    metrics.observe_request("/predict", "POST", status, seconds, 700, 300)


def test_requests_are_counted_timed_and_measured() -> None:
    metrics = Metrics()
    for status in (200, 200, 503):
        request(metrics, status)
    name = "digits_http_request_duration_seconds"
    labels = {"route": "/predict", "method": "POST"}
    assert figure(metrics, f"{name}_count", **labels, status="200") == 2
    assert figure(metrics, f"{name}_count", **labels, status="503") == 1
    assert figure(metrics, f"{name}_sum", **labels, status="200") == pytest.approx(0.2)
    assert figure(metrics, "digits_http_request_size_bytes_sum", route="/predict") == 2100
    assert figure(metrics, "digits_http_response_size_bytes_sum", route="/predict") == 900
    assert figure(metrics, "digits_http_response_size_bytes_count", route="/predict") == 3


def test_a_request_is_in_progress_until_it_is_observed() -> None:
    metrics = Metrics()
    metrics.begin_request()
    assert figure(metrics, "digits_http_requests_in_progress") == 1
    metrics.observe_request("/", "GET", 200, 0.1, 0, 0)
    assert figure(metrics, "digits_http_requests_in_progress") == 0


def test_methods_that_nobody_knows_are_one_label() -> None:
    metrics = Metrics()
    for method in ("BREW", "X" * 100):
        metrics.begin_request()
        metrics.observe_request("other", method, 405, 0.1, 0, 0)
    labels = {"route": "other", "method": "other", "status": "405"}
    assert figure(metrics, "digits_http_request_duration_seconds_count", **labels) == 2


def test_a_request_without_a_response_is_of_a_client_that_left() -> None:
    metrics = Metrics()
    request(metrics, status=0)
    labels = {"route": "/predict", "method": "POST", "status": "499"}
    assert figure(metrics, "digits_http_request_duration_seconds_count", **labels) == 1


@pytest.mark.parametrize(
    ("folder", "expected"), [("/run/figures", Path("/run/figures")), ("", None)]
)
def test_workers_meet_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, folder: str, expected: Path | None
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", folder)
    assert shared_folder() == expected


def test_steps_and_batches() -> None:
    metrics = Metrics()
    metrics.observe_batch(3, Steps([0.5], 0.002, 0.001, 0.004))
    metrics.observe_batch(0, Steps([0.25], 0.003, 0.0, 0.0))
    name = "digits_step_duration_seconds"
    assert figure(metrics, f"{name}_sum", step="decode") == 0.005
    assert figure(metrics, f"{name}_count", step="normalize") == 2
    assert figure(metrics, f"{name}_count", step="inference") == 1
    assert figure(metrics, f"{name}_count", step="queue") == 2
    assert figure(metrics, f"{name}_sum", step="queue") == 0.75
    assert figure(metrics, "digits_batch_images_sum") == 3
    assert figure(metrics, "digits_batch_images_count") == 1


def test_predictions_and_rejections() -> None:
    metrics = Metrics()
    metrics.observe_predictions(
        "4",
        Columns(
            [
                Predicted(7, 0.99),
                Predicted(7, 0.4, "uncertain"),
                Predicted(None, 0.1, "blank"),
            ]
        ),
    )
    assert figure(metrics, "digits_predictions_total", version="4", label="7") == 2
    assert figure(metrics, "digits_predictions_total", version="4", label="none") == 1
    assert figure(metrics, "digits_rejections_total", reason="uncertain") == 1
    assert figure(metrics, "digits_rejections_total", reason="blank") == 1
    assert figure(metrics, "digits_prediction_confidence_count") == 2
    assert figure(metrics, "digits_prediction_confidence_sum") == pytest.approx(1.39)


def test_the_live_version() -> None:
    metrics = Metrics()
    metrics.set_model("digits", "4")
    assert figure(metrics, "digits_model_info", name="digits", version="4") == 1
    metrics.observe_reload(True)
    metrics.set_model("digits", "5")
    metrics.observe_reload(False)
    assert figure(metrics, "digits_model_info", name="digits", version="4") is None
    assert figure(metrics, "digits_model_info", name="digits", version="5") == 1
    assert figure(metrics, "digits_predictions_total", version="5", label="0") == 0
    assert figure(metrics, "digits_reloads_total", outcome="succeeded") == 1
    assert figure(metrics, "digits_reloads_total", outcome="refused") == 1


def test_series_are_there_at_0_before_the_first_event() -> None:
    metrics = Metrics(version="1.2", reasons=["blank", "new"])
    metrics.expect_requests("/predict", "POST", (200, 503))
    for outcome in ("succeeded", "refused"):
        assert figure(metrics, "digits_reloads_total", outcome=outcome) == 0
    for reason in ("blank", "new"):
        assert figure(metrics, "digits_rejections_total", reason=reason) == 0
    for step in ("decode", "normalize", "queue", "inference"):
        assert figure(metrics, "digits_step_duration_seconds_count", step=step) == 0
    labels = {"route": "/predict", "method": "POST", "status": "503"}
    assert figure(metrics, "digits_http_request_duration_seconds_count", **labels) == 0
    python = ".".join(map(str, sys.version_info[:3]))
    assert figure(metrics, "digits_build_info", version="1.2", python=python) == 1


def test_levels_are_as_they_are_at_a_scrape() -> None:
    metrics = Metrics()
    waiting = [3]
    metrics.on_flush = lambda: metrics.set_levels(
        waiting_images=waiting[0], waiting_images_limit=512
    )
    assert b"digits_waiting_images 3.0" in metrics.exposition()
    waiting[0] = 5
    said = metrics.exposition()
    assert b"digits_waiting_images 5.0" in said
    assert b"digits_waiting_images_limit 512.0" in said


def test_a_level_that_is_none_is_an_error() -> None:
    with pytest.raises(KeyError):
        Metrics().set_levels(wating_images=3)


@given(st.lists(st.floats(0, 100), max_size=30))
def test_histograms_are_those_of_prometheus_client(seconds: list[float]) -> None:
    metrics = Metrics()
    registry = CollectorRegistry()
    name = "digits_http_request_duration_seconds"
    reference = Histogram(name, "As it should be.", buckets=SECONDS, registry=registry)
    for one in seconds:
        reference.observe(one)
        request(metrics, seconds=one)
    labels = {"route": "/predict", "method": "POST", "status": "200"}
    expected = {
        sample.labels["le"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == f"{name}_bucket"
    }
    for bound, count in expected.items() if seconds else ():
        assert figure(metrics, f"{name}_bucket", **labels, le=bound) == count
    if seconds:
        assert figure(metrics, f"{name}_count", **labels) == len(seconds)
        assert figure(metrics, f"{name}_sum", **labels) == pytest.approx(sum(seconds))


def test_the_exposition_is_prometheus_text() -> None:
    metrics = Metrics()
    request(metrics)
    parsed = list(text_string_to_metric_families(metrics.exposition().decode()))
    assert len(parsed) == len(FAMILIES) + len(DERIVED)
    assert all(family.documentation.endswith(".") for family in parsed)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_follow_the_conventions(family: Family) -> None:
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert family.name.endswith("_info") == (family.kind == "info")
    assert family.bounds == tuple(sorted(set(family.bounds)))
    assert bool(family.bounds) == (family.kind == "histogram")
    assert not {"le", "pid"} & set(family.labels)


def test_every_level_but_a_limit_has_one() -> None:
    names = {name for name in LEVELS if not name.endswith("_limit")}
    assert {f"{name}_limit" for name in names} == LEVELS.keys() - names


def test_observations_from_threads_are_all_counted() -> None:
    metrics = Metrics()

    def many() -> None:
        for _ in range(2000):
            request(metrics)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=many) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    labels = {"route": "/predict", "method": "POST", "status": "200"}
    assert figure(metrics, "digits_http_request_duration_seconds_count", **labels) == 8000
    assert figure(metrics, "digits_http_requests_in_progress") == 0


def test_a_worker_says_what_it_takes() -> None:
    metrics = Metrics()
    metrics.set_memory_limit(2**30)
    metrics.exposition()
    assert figure(metrics, "process_memory_limit_bytes", worker="0") == 2**30
    assert figure(metrics, "process_cpu_seconds_total", worker="0") == pytest.approx(
        time.process_time(), abs=5
    )
    assert (figure(metrics, "process_resident_memory_bytes", worker="0") or 0) > 2**23
    open_files = figure(metrics, "process_open_fds", worker="0") or 0
    assert 0 < open_files < (figure(metrics, "process_max_fds", worker="0") or 0)
    began = figure(metrics, "process_start_time_seconds", worker="0") or 0
    assert time.time() - 3600 < began < time.time()


def test_levels_are_written_until_cancelled(tmp_path: Path) -> None:
    metrics, other = Metrics(tmp_path), Metrics(tmp_path)

    async def main() -> None:
        called = asyncio.Event()

        def flush() -> None:
            metrics.set_levels(waiting_images=4)
            called.set()

        metrics.on_flush = flush
        updating = asyncio.create_task(metrics.keep_flushed())
        await called.wait()
        updating.cancel()
        await asyncio.gather(updating, return_exceptions=True)

    asyncio.run(main())
    assert figure(other, "digits_waiting_images") == 4


WORKER = """
import sys
from pathlib import Path
from app.observe.metrics import Metrics
metrics = Metrics(Path(sys.argv[1]))
metrics.set_model("digits", "4")
metrics.set_levels(waiting_images=2, waiting_images_limit=512)
for _ in range(5):
    metrics.begin_request()
    metrics.observe_request("/predict", "POST", 200, 0.1, 700, 300)
metrics.begin_request()
metrics.flush()
print(flush=True)
sys.stdin.read()
"""


def worker(folder: Path) -> subprocess.Popen[str]:
    """A worker that has answered 5 requests and works on one."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, folder],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    process.stdout.readline()
    return process


def test_figures_are_right_across_workers_and_after_one_is_killed(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.set_model("digits", "4")
    metrics.set_levels(waiting_images=1, waiting_images_limit=512)
    request(metrics)
    answered = {"route": "/predict", "method": "POST", "status": "200"}
    count = "digits_http_request_duration_seconds_count"

    process = worker(tmp_path)
    assert figure(metrics, count, **answered) == 6
    assert figure(metrics, "digits_waiting_images") == 3
    assert figure(metrics, "digits_waiting_images_limit") == 1024
    assert figure(metrics, "digits_http_requests_in_progress") == 1
    assert figure(metrics, "digits_model_info", name="digits", version="4") == 1
    assert figure(metrics, "process_resident_memory_bytes", worker="1")
    processor_time = figure(metrics, "process_cpu_seconds_total", worker="1") or 0
    assert processor_time > 0

    process.kill()
    process.communicate()
    assert figure(metrics, count, **answered) == 6
    assert figure(metrics, "digits_waiting_images") == 1
    assert figure(metrics, "digits_waiting_images_limit") == 512
    assert figure(metrics, "digits_http_requests_in_progress") == 0
    assert figure(metrics, "process_resident_memory_bytes", worker="1") is None

    process = worker(tmp_path)  # in its place
    assert figure(metrics, count, **answered) == 11
    assert figure(metrics, "digits_waiting_images") == 3
    assert figure(metrics, "digits_http_requests_in_progress") == 1
    assert (figure(metrics, "process_cpu_seconds_total", worker="1") or 0) > processor_time
    assert figure(metrics, "process_resident_memory_bytes", worker="2") is None
    process.kill()
    process.communicate()

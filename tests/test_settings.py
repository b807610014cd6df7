from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app import settings
from app.settings import (
    IDLE_WORKER_BYTES,
    MIB,
    Settings,
    available_bytes,
    available_cores,
    threads_per_worker,
    unknown_settings,
    working_budget,
)


def test_without_environment_the_defaults_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DIGITS_")]:
        monkeypatch.delenv(name)
    settings = Settings()
    assert settings == Settings.model_validate(settings.model_dump())
    assert settings.max_images <= settings.max_waiting_images
    assert settings.max_body_bytes < settings.body_budget_bytes
    assert settings.inline_cost_pixels <= settings.batch_cost_pixels


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("DIGITS_PORT", "0", "port", 0),
        ("digits_max_pixels", "4000000", "max_pixels", 4_000_000),
        ("DIGITS_MODELS_DIR", "/models", "models_dir", Path("/models")),
        ("DIGITS_MODEL_VERSION", "3", "model_version", 3),
        ("DIGITS_VERSIONS", "all", "versions", "all"),
        ("DIGITS_VERSIONS", "3, 4", "versions", (3, 4)),
        ("DIGITS_VERSIONS", ",", "versions", "live"),
        ("DIGITS_VERSIONS", "3,", "versions", (3,)),
        ("DIGITS_VERSIONS", "[3, 4]", "versions", (3, 4)),
        ("DIGITS_VERSIONS", "*", "versions", "all"),
        ("DIGITS_VERSIONS", " live", "versions", "live"),
        ("DIGITS_VERSIONS", '["all"]', "versions", "all"),
        ("DIGITS_VERSIONS", "", "versions", "live"),
        ("DIGITS_DEADLINE_SECONDS", "0.5", "deadline_seconds", 0.5),
        ("DIGITS_LOG_JSON", "true", "log_json", True),
        ("DIGITS_CORS_ORIGINS", '["https://a.example"]', "cors_origins", ("https://a.example",)),
        (
            "DIGITS_CORS_ORIGINS",
            "https://a.example, *,",
            "cors_origins",
            ("https://a.example", "*"),
        ),
        ("DIGITS_CORS_ORIGINS", "", "cors_origins", ()),
        ("DIGITS_PORT", "", "port", 8000),
        ("DIGITS_ROOT_PATH", "/digits/", "root_path", "/digits"),
        ("DIGITS_ROOT_PATH", "tools/digits", "root_path", "/tools/digits"),
        ("DIGITS_ROOT_PATH", "/", "root_path", ""),
        ("DIGITS_API_KEYS_FILE", "/keys", "api_keys_file", Path("/keys")),
        ("DIGITS_WORKING_BUDGET_BYTES", "20000000", "working_budget_bytes", 20_000_000),
        (
            "DIGITS_TRACES_ENDPOINT",
            "https://a.example/otlp/",
            "traces_endpoint",
            "https://a.example/otlp/",
        ),
    ],
)
def test_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str, expected: Any
) -> None:
    monkeypatch.setenv(name, value)
    assert getattr(Settings(), field) == expected


@pytest.mark.parametrize(
    "values",
    [
        {"port": 65_536},
        {"port": -1},
        {"workers": 0},
        {"model_version": 0},
        {"versions": "some"},
        {"versions": "3,all"},
        {"versions": "[3"},
        {"versions": (1, 2, 3, 4, 5)},
        {"max_pixels": 0},
        {"deadline_seconds": 0},
        {"deadline_seconds": "soon"},
        {"drain_notice_seconds": -1},
        {"inline_cost_pixels": -1},
        {"worker_threads": 0},
        {"working_budget_bytes": 16 * MIB - 1},
        {"max_header_bytes": 2047},
        {"traces_endpoint": "foo"},
        {"traces_endpoint": "collector:4318"},
        {"traces_endpoint": "http://"},
        {"traces_endpoint": "http://a.example?x"},
        {"no_such_setting": 1},
        {"max_images": 513},
        {"max_waiting_images": 255},
        {"max_body_bytes": 2**30},
        {"max_body_bytes": 75, "body_budget_bytes": 99},
        {"deadline_seconds": "inf"},
        {"drain_notice_seconds": "nan"},
        {"cors_origins": 7},
        {"root_path": "https://a.example/digits"},
        {"root_path": "/a b"},
        {"cors_origins": ("https://a.example", "b.example")},
        {"cors_origins": "https://a.example/"},
        {"cors_origins": "https://a.example/form"},
        {"cors_origins": "https://A.example"},
        {"cors_origins": "a.example:8443"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**values)


def test_the_largest_body_fits_beside_what_is_kept_for_small_ones() -> None:
    settings = Settings(max_body_bytes=75, body_budget_bytes=100)
    assert settings.max_body_bytes == 75


def test_a_variable_that_is_no_setting_is_found() -> None:
    environment = {"DIGITS_PORT": "1", "DIGITS_PROT": "1", "DIGITS_MAX_BATCH": "1", "PATH": ""}
    assert unknown_settings(environment) == ["DIGITS_MAX_BATCH", "DIGITS_PROT"]


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_is(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description
    assert description.endswith((".", "…"))


HERE = available_cores(Path("/nowhere"))


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        ("max 100000\n", HERE),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        (f"{10**9} 100000\n", HERE),
        ("", HERE),
        ("nonsense\n", HERE),
    ],
    ids=["no quota", "one core", "half a core", "more than there are", "empty", "nonsense"],
)
def test_available_cores(tmp_path: Path, cpu_max: str, expected: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(cpu_max)
    assert available_cores(file) == expected


def test_available_bytes(tmp_path: Path) -> None:
    file = tmp_path / "memory.max"
    machine = available_bytes(file)
    file.write_text("max\n")
    assert available_bytes(file) == machine
    file.write_text(f"{2**30}\n")
    assert available_bytes(file) == 2**30


@pytest.mark.parametrize(
    ("cores", "memory", "workers", "threads"),
    [(1, 2**34, 1, 1), (2, 2**34, 2, 1), (2, 2**31, 1, 2), (8, 2**40, 4, 2), (64, 2**30, 1, 8)],
)
def test_workers_and_threads_share_the_cores_and_the_memory(
    monkeypatch: pytest.MonkeyPatch, cores: int, memory: int, workers: int, threads: int
) -> None:
    monkeypatch.setattr(settings, "available_cores", lambda: cores)
    monkeypatch.setattr(settings, "available_bytes", lambda: memory)
    assert settings.fitting_workers() == workers
    assert threads_per_worker({"workers": workers}) == threads


@pytest.mark.parametrize(("threads", "cost"), [(1, 2**18), (2, 2**13), (8, 2**13)])
def test_with_a_core_for_both_the_loop_does_more_itself(threads: int, cost: int) -> None:
    assert Settings(worker_threads=threads).inline_cost_pixels == cost


@pytest.mark.parametrize(
    ("memory", "workers", "budget"),
    [
        (IDLE_WORKER_BYTES, 1, 64 * MIB),
        (IDLE_WORKER_BYTES + 400 * MIB, 1, 200 * MIB),
        (2 * IDLE_WORKER_BYTES + 400 * MIB, 2, 100 * MIB),
        (2**34, 1, 384 * MIB),
    ],
    ids=["none left", "half of what is left", "of a worker's share", "enough"],
)
def test_the_working_budget_is_by_the_memory(
    monkeypatch: pytest.MonkeyPatch, memory: int, workers: int, budget: int
) -> None:
    monkeypatch.setattr(settings, "available_bytes", lambda: memory)
    assert working_budget({"workers": workers}) == budget
    assert Settings(workers=workers).working_budget_bytes == budget

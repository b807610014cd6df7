from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app import settings
from app.settings import Settings, available_bytes, available_cores, threads_per_worker


def test_without_environment_the_defaults_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DIGITS_")]:
        monkeypatch.delenv(name)
    settings = Settings()
    assert settings == Settings.model_validate(settings.model_dump())
    assert settings.max_images <= settings.max_waiting_images
    assert settings.max_body_bytes <= settings.max_held_bytes


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("DIGITS_PORT", "0", "port", 0),
        ("digits_max_pixels", "4000000", "max_pixels", 4_000_000),
        ("DIGITS_MODELS_DIR", "/models", "models_dir", Path("/models")),
        ("DIGITS_MODEL_VERSION", "3", "model_version", 3),
        ("DIGITS_DEADLINE_SECONDS", "0.5", "deadline_seconds", 0.5),
        ("DIGITS_LOG_JSON", "true", "log_json", True),
        ("DIGITS_CORS_ORIGINS", '["https://a.example"]', "cors_origins", ("https://a.example",)),
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
        {"max_pixels": 0},
        {"deadline_seconds": 0},
        {"deadline_seconds": "soon"},
        {"drain_notice_seconds": -1},
        {"inline_image_bytes": -1},
        {"no_such_setting": 1},
        {"max_images": 513},
        {"max_waiting_images": 255},
        {"max_body_bytes": 2**30},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**values)


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

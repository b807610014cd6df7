"""Older and newer versions beside the live one, by number and by label."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.inference import pointer
from app.inference.pointer import Pointer
from app.main import create_app
from app.settings import Settings
from tests.conftest import export_stand_in, plain_stand_in, spoken

ONE = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": [spoken(3).tolist()]}
UNKNOWN = "Servable not found for request: Specific(digits, 9)"


def always(label: int) -> Any:
    """A stand-in that reads all as `label`."""

    def serve(tf: Any, images: Any) -> dict[str, Any]:
        probabilities = tf.one_hot(tf.fill(tf.shape(images)[:1], label), 10)
        return plain_stand_in(tf, images) | {"probabilities": probabilities}

    return serve


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 to 3, which read all as their number; 2 is live."""
    models = tmp_path_factory.mktemp("versions")
    for number in (1, 2, 3):
        export_stand_in(models / str(number), always(number))
    pointer.write(models, Pointer(version=2))
    return models


@pytest.fixture(scope="module")
def several(versions: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(models_dir=versions, versions="all"))) as client:
        yield client


@pytest.mark.parametrize(
    ("target", "version"),
    [
        ("", 2),
        ("/versions/1", 1),
        ("/versions/2", 2),
        ("/versions/3", 3),
        ("/labels/stable", 2),
        ("/labels/candidate", 3),
    ],
)
def test_each_version_answers_in_tensorflow_serving(
    several: TestClient, target: str, version: int
) -> None:
    path = f"/v1/models/digits{target}"
    answer = several.post(f"{path}:predict", json={"instances": [spoken(7).tolist()]}).json()
    assert [one["label"] for one in answer["predictions"]] == [version]
    assert several.get(f"{path}/metadata").json()["model_spec"]["version"] == str(version)
    states = several.get(path).json()["model_version_status"]
    assert [state["version"] for state in states] == ([str(version)] if target else list("123"))


@pytest.mark.parametrize(
    ("target", "version"),
    [
        ("", 2),
        ("/versions/1", 1),
        ("/versions/3", 3),
        ("/versions/stable", 2),
        ("/versions/candidate", 3),
    ],
)
def test_each_version_answers_in_the_open_inference_protocol(
    several: TestClient, target: str, version: int
) -> None:
    path = f"/v2/models/digits{target}"
    answer = several.post(f"{path}/infer", json={"inputs": [ONE]}).json()
    assert answer["model_version"] == str(version)
    assert answer["outputs"][0]["data"] == [version]
    assert several.get(f"{path}/ready").json() == {"name": "digits", "ready": True}
    assert several.get(path).json()["versions"] == ["1", "2", "3"]


def test_the_repository_lists_what_is_kept(several: TestClient) -> None:
    index = several.post("/v2/repository/index").json()
    assert [(one["version"], one["state"]) for one in index] == [(v, "READY") for v in "123"]


def test_a_version_s_predictions_are_counted_as_its_own(several: TestClient) -> None:
    def counted(version: str, label: str) -> str:
        name = "digits_predictions_total{"
        [line] = [
            line
            for line in several.get("/metrics").text.splitlines()
            if line.startswith(name)
            and f'version="{version}"' in line
            and f'label="{label}"' in line
        ]
        return str(line.split()[1])

    assert counted("3", "0") == "0.0"
    before = float(counted("1", "1"))
    several.post("/v2/models/digits/versions/1/infer", json={"inputs": [ONE]})
    assert float(counted("1", "1")) == before + 1


def test_what_is_not_kept_is_not_found(versions: Path) -> None:
    settings = Settings(models_dir=versions, versions=(1, 9))
    with TestClient(create_app(settings)) as client:
        assert client.get("/v1/models/digits/versions/1").status_code == 200
        missing = client.post("/v1/models/digits/versions/9:predict", json={})
        assert (missing.status_code, missing.json()) == (404, {"error": UNKNOWN})
        assert client.get("/v2/models/digits/versions/3").status_code == 404
        assert client.get("/v2/models/digits/versions/candidate").status_code == 404
        label = client.get("/v1/models/digits/labels/candidate")
        error = {"error": "Unrecognized servable version label: candidate"}
        assert (label.status_code, label.json()) == (400, error)

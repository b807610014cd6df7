"""`LocalReader`: the service's answers without a service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digits import Client, DigitsError, LocalReader, LocalUnavailable, ServiceError
from digits.local import without_native_info
from tests.conftest import EXAMPLES, ROOT
from tests.faults.server import Server

SHIPPED = ROOT / "models" / "digits" / "7"
BAD: list[Any] = [ROOT / "README.md", "missing.png", [[1, 2], [3]], [[256]], b"\x89PNG\r\n\x1a\n"]
BLOCK = """
import sys

class Missing:
    def find_spec(name, *_):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}")

sys.meta_path.insert(0, Missing)
"""
"""Makes the import of some packages fail, as where they are not installed."""
NOT_IN_LOCAL = ("tensorflow", "fastapi", "uvicorn", "uvloop", "httptools", "prometheus_client")


@pytest.fixture(scope="module")
def reader() -> Iterator[LocalReader]:
    with LocalReader() as reader:
        yield reader


@pytest.fixture(scope="module")
def client(shipped: Server) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{shipped.port}") as client:
        yield client


def test_the_model_is_that_of_the_service(reader: LocalReader, client: Client) -> None:
    assert reader.model() == client.model()
    card = client.card()
    del card["drift"]  # of what this service was asked lately
    assert reader.card() == card


def test_what_libraries_say_for_information_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    with without_native_info():
        os.write(2, b"INFO: how it computes\nERROR: what went wrong\n")
    os.write(2, b"INFO: afterwards\n")
    assert capfd.readouterr().err == "ERROR: what went wrong\nINFO: afterwards\n"


@pytest.mark.parametrize("normalize", [False, True])
def test_golden_images_have_the_same_answers(
    reader: LocalReader, client: Client, normalize: bool
) -> None:
    images = [*np.load(SHIPPED / "golden.npz")["images"]]
    images += [image // 2 + np.roll(image, 9) // 2 for image in images]
    local = [*reader.predict_many(images, normalize=normalize)]
    remote = [*client.predict_many(images, normalize=normalize)]
    assert [each.prediction for each in local] == [each.prediction for each in remote]
    assert all(each.prediction is not None for each in local)


def test_files_have_the_same_answers(reader: LocalReader, client: Client) -> None:
    for image in sorted(EXAMPLES.glob("*.*g")):
        prediction = reader.predict(image, include_seen=True)
        assert prediction == client.predict(image, include_seen=True)
        assert prediction.seen is not None


def test_errors_are_the_same_but_for_their_request(reader: LocalReader, client: Client) -> None:
    def facts(error: DigitsError | None) -> dict[str, Any]:
        known = dict(vars(error), kind=type(error), text=str(error))
        return known | {"request_id": None}

    for image in BAD:
        with pytest.raises(DigitsError) as local:
            reader.predict(image)
        with pytest.raises(DigitsError) as remote:
            client.predict(image)
        assert facts(local.value) == facts(remote.value)


def test_a_bad_image_costs_itself(reader: LocalReader) -> None:
    good = EXAMPLES / "seven.jpg"
    outcomes = [*reader.predict_many([good, *BAD, good])]
    assert [outcome.source for outcome in outcomes] == [good, *BAD, good]
    assert [outcome.error is None for outcome in outcomes] == [True, *[False] * len(BAD), True]


def test_an_image_that_takes_too_much_memory(
    monkeypatch: pytest.MonkeyPatch, reader: LocalReader
) -> None:
    monkeypatch.setattr(reader._admission.working, "limit", 1000)
    with pytest.raises(DigitsError) as raised:
        reader.predict(EXAMPLES / "seven.jpg")
    assert getattr(raised.value, "type", "") == "/problems/image-too-large"


def test_settings_are_those_of_the_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIGITS_MODEL_VERSION", "99")
    with pytest.raises(ServiceError, match="no version 99"):
        LocalReader()
    monkeypatch.setenv("DIGITS_MODELS_DIR", str(tmp_path / "none"))
    with pytest.raises(ServiceError, match="no such folder"):
        LocalReader()
    monkeypatch.setenv("DIGITS_MODEL_VERSION", "first")
    with pytest.raises(LocalUnavailable, match="model_version"):
        LocalReader()


def test_the_command_writes_nothing_but_rows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "digits", "predict", "--local", "--json", EXAMPLES / "five.png"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    assert json.loads(done.stdout)["label"] == 5


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_client_needs_httpx_alone() -> None:
    names = ("rich", "numpy", "PIL", "cv2", "structlog", "pydantic", "starlette", *NOT_IN_LOCAL)
    done = python(BLOCK.format(names=names) + "from digits import Client, AsyncClient; Client()")
    assert done.returncode == 0, done.stderr


def test_what_is_missing_is_said() -> None:
    done = python(
        BLOCK.format(names=("structlog",))
        + "from digits.command import main; sys.exit(main(['predict', '--local', 'x.png']))"
    )
    assert done.returncode == 2
    assert "pip install '.[local]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_reading_needs_no_more_than_its_extra() -> None:
    """Without LiteRT, too, all is imported until the model is loaded."""
    done = python(
        BLOCK.format(names=NOT_IN_LOCAL)
        + "from digits import LocalReader, ServiceError\n"
        + "try: print(LocalReader().predict('docs/examples/seven.jpg').label)\n"
        + "except ServiceError as error: print(error)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "7" or "TensorFlow can't be imported" in done.stdout

"""The wheel: what is in it, and what it wants."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from app.inference.registry import version_to_serve
from digits.local import MODELS
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SHIPPED = "7"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the wheel, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_it_has_the_client_the_service_and_the_model(wheel: zipfile.ZipFile) -> None:
    inside = files(ROOT / "app") | files(ROOT / "models" / "digits" / SHIPPED)
    expected = files(ROOT / "digits") | {f"digits/{name}" for name in inside}
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == expected
    assert {name.split("/")[0] for name in found} == {"digits"}


def test_what_it_has_is_what_is_there(wheel: zipfile.ZipFile) -> None:
    for name in wheel.namelist():
        if ".dist-info/" in name:
            continue
        inner = name.removeprefix("digits/")
        source = ROOT / (inner if inner.startswith(("app/", "models/")) else name)
        assert wheel.read(name) == source.read_bytes(), name


def test_it_has_the_command_and_its_extras(wheel: zipfile.ZipFile) -> None:
    def metadata(name: str) -> str:
        (path,) = (each for each in wheel.namelist() if each.endswith(f".dist-info/{name}"))
        return wheel.read(path).decode()

    assert "digits = digits.command:main" in metadata("entry_points.txt")
    wanted = Parser().parsestr(metadata("METADATA"))
    assert wanted.get_all("Provides-Extra") == ["bulk", "grpc", "local", "ray", "serve", "traces"]
    plain = [each for each in wanted.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert sorted(each.split(">")[0] for each in plain) == ["httpx", "rich"]


def test_the_live_version_ships() -> None:
    assert version_to_serve(MODELS).name == SHIPPED


def test_the_extra_of_the_service_is_what_the_service_wants() -> None:
    lines = (ROOT / "requirements" / "serve.in").read_text("utf-8").splitlines()
    wanted = [line.replace('"', "'") for line in lines]
    assert PROJECT["optional-dependencies"]["serve"] == wanted


def test_the_extra_for_reading_has_the_same_versions() -> None:
    extras = PROJECT["optional-dependencies"]
    (litert,) = set(extras["local"]) - set(extras["serve"])
    assert litert.startswith("ai-edge-litert")


def test_without_httpx_the_command_says_in_a_line_what_it_needs() -> None:
    command = [sys.executable, "-S", "-m", "digits"]  # -S: without what is installed
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "pip install httpx rich" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1

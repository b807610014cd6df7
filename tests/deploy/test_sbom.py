from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

pytest.importorskip("cyclonedx_py", reason="cyclonedx-bom makes the SBOMs")


def make(folder: Path) -> dict[str, Any]:
    subprocess.run(
        [sys.executable, "deploy/sbom.py", "--out", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return {path.name: json.loads(path.read_bytes()) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return make(tmp_path_factory.mktemp("sbom"))


def test_the_image_has_what_is_locked_with_its_hashes(documents: dict[str, Any]) -> None:
    components = {each["name"]: each for each in documents["image.cdx.json"]["components"]}
    lock = (ROOT / "requirements/serve.txt").read_text()
    pins = re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)", lock, re.MULTILINE)
    assert len(pins) > 30
    for name, version in pins:
        assert components[name]["version"] == version
        assert components[name]["purl"].startswith(f"pkg:pypi/{name}@{version}")
    hashes = {
        digest["content"]
        for each in components.values()
        for reference in each.get("externalReferences", ())
        for digest in reference.get("hashes", ())
    }
    assert hashes == set(re.findall(r"--hash=sha256:([0-9a-f]{64})", lock))


def test_the_wheel_has_what_it_needs_and_no_more(documents: dict[str, Any]) -> None:
    names = {each["name"] for each in documents["wheel.cdx.json"]["components"]}
    assert {"httpx", "rich", "certifi", "swagger-ui-dist", "redoc"} <= names
    assert not names & {"tensorflow-cpu", "pytest", "ruff"}


def test_both_say_what_they_are_of_and_with_what_licence(documents: dict[str, Any]) -> None:
    assert documents.keys() == {"image.cdx.json", "wheel.cdx.json"}
    for each in documents.values():
        assert (each["bomFormat"], each["specVersion"]) == ("CycloneDX", "1.6")
        assert each["metadata"]["component"]["name"] == "digits"
        assert any("licenses" in component for component in each["components"])


def test_equal_locks_give_equal_documents(documents: dict[str, Any], tmp_path: Path) -> None:
    assert make(tmp_path) == documents


def test_every_licence_is_in_the_notice() -> None:
    notice = (ROOT / "NOTICE").read_text("utf-8")
    fonts = json.loads((ROOT / "training/corpora/fonts.lock.json").read_text())
    for family, entry in fonts.items():
        assert re.search(rf"\b{re.escape(family)}\b", notice), family
        assert entry["license"] in notice
    for folder in (ROOT / "app/web/vendor").iterdir():
        assert not folder.is_dir() or folder.name.rpartition("-")[2] in notice

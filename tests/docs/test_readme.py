"""What the README shows is what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings, unknown_settings
from app.vision.decode import AVIF, FORMATS, HEIC
from tests.conftest import ROOT
from tests.faults.server import Server

README = (ROOT / "README.md").read_text("utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
SECURITY = (ROOT / "SECURITY.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
EXAMPLES = re.findall(r"```sh\n(curl .*?)\n```\n+```json\n(.*?)\n```", README, re.DOTALL)
FIGURE = 0.05
"""A probability may differ by so much from the one that is shown, and a box by so many pixels."""
PIXELS = 2
OF_TRAINING = {"DIGITS_DATA", "DIGITS_USPS"}


def differences(shown: Any, real: Any, where: str = "") -> Iterator[str]:
    """Where `real` is not what is shown; `…` at the end of a text or list stands for the rest."""
    if isinstance(shown, dict) and isinstance(real, dict):
        if shown.keys() != real.keys():
            yield f"{where}: {list(shown)} and {list(real)}"
        for name in shown.keys() & real.keys():
            yield from differences(shown[name], real[name], f"{where}.{name}")
    elif isinstance(shown, list) and isinstance(real, list):
        if shown[-1:] == ["…"]:
            shown, real = shown[:-1], real[: len(shown) - 1]
        if len(shown) != len(real):
            yield f"{where}: {len(shown)} and {len(real)}"
        for index, (one, other) in enumerate(zip(shown, real, strict=False)):
            yield from differences(one, other, f"{where}.{index}")
    elif not alike(shown, real, where):
        yield f"{where}: {shown} and {real}"


def alike(shown: Any, real: Any, where: str) -> bool:
    if isinstance(shown, str) and shown.endswith("…"):
        return isinstance(real, str) and real.startswith(shown[:-1])
    if isinstance(shown, float) and isinstance(real, float):
        return abs(shown - real) <= FIGURE
    if ".box." in where:
        return bool(abs(shown - real) <= PIXELS)
    return bool(shown == real)


@pytest.mark.parametrize(("command", "shown"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_examples_answer_as_they_are_shown(shipped: Server, command: str, shown: str) -> None:
    if not shutil.which("curl"):
        pytest.skip("there is no curl here")
    assert "localhost:8000" in command
    done = subprocess.run(
        ["sh", "-c", command.replace("localhost:8000", f"127.0.0.1:{shipped.port}")],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    assert list(differences(json.loads(shown), json.loads(done.stdout))) == []


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5
    sent = " ".join(command for command, _ in EXAMPLES)
    for picture in (ROOT / "docs" / "examples").glob("*.*g"):
        assert picture.name in sent


def settings_table() -> str:
    """The operations page's table of the settings."""
    lines = ["| variable | default | |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        variable = f"`DIGITS_{name.upper()}`"
        lines.append(f"| {variable} | {shown_default(field)} | {field.description} |")
    return "\n".join(lines)


def shown_default(field: Any) -> str:
    if field.default_factory:
        return "by the machine"
    match field.default:
        case None | "":
            return "unset"
        case Path() | str() as text:
            return f"`{text}`"
        case value:
            return f"`{json.dumps(value)}`"


def test_the_table_is_that_of_the_settings() -> None:
    assert settings_table() in OPERATIONS


def test_the_reachable_decoders_are_those_of_the_table() -> None:
    (named,) = re.findall(r"formats by their first bytes: ([\w, ]+)", SECURITY)
    assert {*named.strip().split(", ")} == {each.name for each in (*FORMATS, AVIF, HEIC)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_are_named_exist(page: Path) -> None:
    named = {*re.findall(r"DIGITS_[A-Z_]+[A-Z]", page.read_text("utf-8"))} - OF_TRAINING
    assert unknown_settings(dict.fromkeys(named, "")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_every_picture_is_on_a_page() -> None:
    shown = " ".join(page.read_text("utf-8") for page in PAGES)
    assert [
        picture.name for picture in (ROOT / "docs").glob("*.png") if picture.name not in shown
    ] == []


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 250

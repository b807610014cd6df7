"""What docs/client.md shows can be done."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from digits.command import BULK, PASSED_ON, build_parser
from tests.conftest import EXAMPLES, ROOT
from tests.faults.server import Server

PAGE = (ROOT / "docs" / "client.md").read_text("utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    line.split("|")[-1].strip()
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if "digits " in line and not line.startswith("pip ")
]


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_programs_run(
    shipped: Server,
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "scans").mkdir()
    for name in ("seven.png", "scans/seven.png"):
        shutil.copy(EXAMPLES / "seven.jpg", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIGITS_URL", f"http://127.0.0.1:{shipped.port}")
    exec(compile(PROGRAMS[number], "docs/client.md", "exec"), {"__name__": "shown"})  # noqa: S102
    out = capsys.readouterr().out
    assert "7" in out or "not-an-image" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    program, *arguments = shlex.split(command, comments=True)
    assert program == "digits"
    if arguments[0] in (*PASSED_ON, BULK):
        return
    options = build_parser().parse_args(arguments)
    assert callable(options.run)


def test_there_are_examples() -> None:
    assert len(PROGRAMS) >= 4
    assert len(COMMANDS) >= 10

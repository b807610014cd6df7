"""What the page of the protocols shows is what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.docs.test_readme import differences
from tests.faults.server import Server

PAGE = (ROOT / "docs" / "protocols.md").read_text("utf-8")
EXAMPLES = re.findall(r"```sh\n(curl .*?)\n```\n+```json\n(.*?)\n```", PAGE, re.DOTALL)
PROGRAMS = re.findall(r"```python\n(.*?)\n```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("command", "shown"), EXAMPLES, ids=range(len(EXAMPLES)))
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


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_programs_print_what_they_say(shipped: Server, program: str) -> None:
    told = re.findall(r"# (.*)$", program, re.MULTILINE)
    here = program.replace("localhost:8000", f"127.0.0.1:{shipped.port}")
    here = here.replace("localhost:8001", f"127.0.0.1:{shipped.grpc_port}")
    done = subprocess.run(
        [sys.executable, "-c", here], cwd=ROOT, capture_output=True, check=True, text=True
    )
    assert done.stdout.splitlines() == told


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5
    assert len(PROGRAMS) >= 2

"""What a program finds in its environment once it has asked for what C libraries read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.server.environment import VARIABLES
from tests.conftest import ROOT

CODE = """
import json, os, sys
starts = open(sys.argv[1], "a")
starts.write("started ")
starts.close()
from app.server.environment import restart_with_variables
restart_with_variables()
print(json.dumps([os.getpid(), sys.argv[1:], dict(os.environ)]))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there is it started again")


@pytest.mark.parametrize(
    ("given", "starts"),
    [({}, 2), ({"MALLOC_ARENA_MAX": "8"}, 2), (dict.fromkeys(VARIABLES, "9"), 1)],
    ids=["none", "some", "all"],
)
def test_a_program_is_started_again_once_with_what_is_not_given(
    tmp_path: Path, given: dict[str, str], starts: int
) -> None:
    count = tmp_path / "starts"
    others = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(count), "an argument"],
        cwd=ROOT,
        env=others | given,
        stdout=subprocess.PIPE,
    )
    answer, _ = process.communicate(timeout=60)
    pid, arguments, environment = json.loads(answer)
    assert pid == process.pid
    assert arguments == [str(count), "an argument"]
    assert VARIABLES | given == {name: environment[name] for name in VARIABLES}
    assert count.read_text().split() == ["started"] * starts

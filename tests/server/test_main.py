"""`python -m app`: what it says and returns where it can't serve, and that it serves what ships."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from uvicorn.config import STARTUP_FAILURE

from app.__main__ import USAGE_ERROR
from app.server.environment import VARIABLES
from app.settings import PREFIX
from app.startup import StartupError, metrics_folder, require_avx
from tests.conftest import EXAMPLES, ROOT
from tests.faults.server import Server, file_part, multipart

SECONDS = 120
"""How long a test waits for what would otherwise hang."""
BROKEN_MODULE = "raise TypeError('Descriptors cannot be created directly.\\nMore on this')\n"


@dataclass
class Ended:
    """A process that has ended, with nothing left behind and no traceback."""

    status: int
    log: str

    @property
    def critical(self) -> list[tuple[str, str]]:
        """Event and reason of each critical line of the log."""
        lines: list[dict[str, Any]] = [json.loads(line) for line in self.log.splitlines()]
        return [
            (line["event"], line.get("reason", "")) for line in lines if line["level"] == "critical"
        ]


def ended(
    folder: Path, environment: Mapping[str, str], *, before: str = "", module: str = ""
) -> Ended:
    """Run `python -m app` to its end.

    Args:
        folder: Of its temporary files.
        environment: On top of this process's.
        before: Python to run first, which may replace what the machine has.
        module: Name of a module that is broken.
    """
    (folder / "tmp").mkdir()
    if module:
        (folder / f"{module}.py").write_text(BROKEN_MODULE)
    code = f"{before}\nimport runpy\nrunpy.run_module('app', run_name='__main__')"
    command = ["-c", code] if before else ["-m", "app"]
    defaults = {"DIGITS_PORT": "0", "DIGITS_LOG_JSON": "true", "DIGITS_WORKERS": "1"}
    paths = {"PYTHONPATH": str(folder), "TMPDIR": str(folder / "tmp")}
    unset = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**unset, **defaults, **paths, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list((folder / "tmp").iterdir()) == []
    return Ended(done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"DIGITS_PORT": "http"}, ["DIGITS_PORT: Input should be a valid integer"]),
        (
            {"DIGITS_MAX_IMAGES": "0", "DIGITS_WORKERS": "-1"},
            ["DIGITS_WORKERS: ", "DIGITS_MAX_IMAGES: "],
        ),
        ({"DIGITS_CORS_ORIGINS": "[https://a.example"}, ["DIGITS_CORS_ORIGINS: "]),
        ({"DIGITS_CORS_ORIGINS": "a.example"}, ["DIGITS_CORS_ORIGINS: "]),
        ({"DIGITS_VERSIONS": "3,x"}, ["DIGITS_VERSIONS: ", "DIGITS_VERSIONS: "]),
        ({"DIGITS_API_KEYS_FILE": "/nowhere"}, ["DIGITS_API_KEYS_FILE: "]),
        ({"DIGITS_FEEDBACK_DIR": "/nowhere"}, ["DIGITS_FEEDBACK_DIR: "]),
        ({"DIGITS_ROOT_PATH": "/v1"}, ["DIGITS_ROOT_PATH: /v1 begins like a path of Digits"]),
    ],
    ids=[
        "port",
        "two at once",
        "no list",
        "no origin",
        "no versions",
        "no key file",
        "no feedback folder",
        "own path",
    ],
)
def test_settings_that_are_wrong(
    tmp_path: Path, environment: dict[str, str], says: list[str]
) -> None:
    done = ended(tmp_path, environment)
    assert done.status == USAGE_ERROR
    lines = done.log.splitlines()
    assert len(lines) == len(says)
    assert all(part in line for part, line in zip(says, lines, strict=True))


def test_a_variable_that_is_no_setting_is_told(tmp_path: Path) -> None:
    done = ended(tmp_path, {"DIGITS_MODELS_DIR": "/nowhere", "DIGITS_MAX_PIXEL": "7"})
    (line,) = [line for line in map(json.loads, done.log.splitlines()) if "variable" in line]
    assert (line["event"], line["level"]) == ("unknown setting", "warning")
    assert line["variable"] == "DIGITS_MAX_PIXEL"


def rejected(folder: Path) -> str:
    """A folder of versions with a file that is not as its manifest says."""
    version = folder / "models" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"altered")
    (version / "manifest.json").write_text(json.dumps({"files": {"saved_model.pb": "0" * 64}}))
    return str(version.parent)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_version_that_is_rejected(tmp_path: Path, workers: str) -> None:
    models = rejected(tmp_path)
    done = ended(tmp_path, {"DIGITS_MODELS_DIR": models, "DIGITS_WORKERS": workers})
    assert done.status == STARTUP_FAILURE
    (event, reason), *others = done.critical
    assert event == "no model to serve"
    assert reason.startswith(f"{models}/1: ")
    assert "saved_model.pb" in reason
    more = [(event, reason)] if len(others) == 2 else []  # the other worker may have come so far
    expected = [*more, *[("no worker comes to be ready", "")] * (workers == "2")]
    assert sorted(others) == sorted(expected)  # its line may come after the supervisor's


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"DIGITS_MODELS_DIR": "/nowhere"}, "/nowhere: no such folder of model versions."),
        ({"DIGITS_MODEL_VERSION": "99"}, "models/digits: there is no version 99 in it."),
    ],
    ids=["folder", "version"],
)
def test_a_model_that_is_missing(tmp_path: Path, environment: dict[str, str], reason: str) -> None:
    done = ended(tmp_path, environment)
    assert done.status == STARTUP_FAILURE
    assert done.critical == [("no model to serve", reason)]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("module", "event", "part"),
    [
        ("tensorflow", "no model to serve", "TensorFlow can't be imported"),
        ("cv2", "the application can't be loaded", ""),
    ],
)
def test_a_module_that_is_broken(
    tmp_path: Path, module: str, event: str, part: str, workers: int
) -> None:
    done = ended(tmp_path, {"DIGITS_WORKERS": str(workers)}, module=module)
    assert done.status == STARTUP_FAILURE
    said = [reason for found, reason in done.critical if found == event]
    assert 1 <= len(said) <= workers
    for reason in said:
        assert part in reason
        assert "TypeError: Descriptors cannot be created directly." in reason


def test_a_module_of_the_command_that_is_missing(tmp_path: Path) -> None:
    done = ended(tmp_path, {}, before="import sys; sys.modules['structlog'] = None")
    assert done.status == 1
    (line,) = done.log.splitlines()
    assert line.startswith("A module can't be imported: import of structlog halted")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_known_before_the_model_is_loaded(tmp_path: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = ended(tmp_path, {"DIGITS_PORT": port, "DIGITS_WORKERS": workers})
    assert done.status == STARTUP_FAILURE
    assert done.critical == [("the address can't be used", "Address already in use")]
    assert len(done.log.splitlines()) == 1


def test_no_usable_temporary_folder(tmp_path: Path) -> None:
    nowhere = "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/nowhere']"
    done = ended(tmp_path, {"DIGITS_WORKERS": "2"}, before=nowhere)
    assert done.status == STARTUP_FAILURE
    ((event, reason),) = done.critical
    assert event == "the server can't start"
    assert "No usable temporary directory found in ['/nowhere']" in reason
    assert "TMPDIR" in reason


def test_a_folder_that_the_environment_names_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with metrics_folder() as folder:
        assert folder == tmp_path
    assert tmp_path.is_dir()


CPUINFO = "processor\t: 0\nmodel name\t: {name}\nflags\t\t: fpu sse sse4_2{flags}\n"


def test_a_processor_without_avx(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(CPUINFO.format(name="Atom with avx in its name", flags=""))
    replaced = (
        "import pathlib, platform, app.startup as s; platform.machine = lambda: 'x86_64'; "
        f"s.require_avx.__defaults__ = (pathlib.Path({str(cpuinfo)!r}),)"
    )
    done = ended(tmp_path, {}, before=replaced)
    assert done.status == STARTUP_FAILURE
    ((event, reason),) = done.critical
    assert event == "the server can't start"
    assert "has no AVX" in reason


def test_a_processor_that_has_no_avx_whatever_is_told_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("cv2.checkHardwareSupport", lambda feature: False)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(CPUINFO.format(name="Xeon", flags=" avx avx2"))
    with pytest.raises(StartupError, match="has no AVX"):
        require_avx(cpuinfo)


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        ("x86_64", CPUINFO.format(name="Xeon", flags=" avx avx2")),
        ("x86_64", "processor\t: 0\n"),
        ("x86_64", None),
        ("aarch64", CPUINFO.format(name="Cortex", flags="")),
    ],
    ids=["AVX", "not told", "no file", "another kind"],
)
def test_processors_that_may_have_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, text: str | None
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    cpuinfo = tmp_path / "cpuinfo"
    if text is not None:
        cpuinfo.write_text(text)
    try:
        require_avx(cpuinfo)
    except StartupError:
        pytest.fail("refused")


def test_it_serves_what_ships(shipped: Server) -> None:
    for name, kind, label in (
        ("five.png", "image/png", 5),
        ("seven.jpg", "image/jpeg", 7),
        ("three.png", "image/png", 3),
    ):
        data = (EXAMPLES / name).read_bytes()
        for body in ((data, kind), multipart(file_part(data, name))):
            reply = shipped.predict(*body)
            assert reply.status == 200, reply.body
            assert [one["label"] for one in reply.json["predictions"]] == [label]
    assert shipped.predict(b"no image").problem == "not-an-image"
    assert shipped.get("/healthz").json["status"] == "ok"
    assert "Traceback" not in shipped.log


@pytest.mark.skipif(sys.platform != "linux", reason="only there is it started again")
def test_its_c_libraries_find_their_variables(shipped: Server) -> None:
    pairs = Path(f"/proc/{shipped.process.pid}/environ").read_text().split("\0")
    assert {f"{name}={value}" for name, value in VARIABLES.items()} <= set(pairs)


def test_a_line_of_a_library_is_a_line_of_the_log(shipped: Server) -> None:
    *lines, last = shipped.log.split("\n")
    assert last == ""
    assert len(lines) > 1
    assert all(re.match(r"\d{4}-\d\d-\d\dT\S+Z \[", line) for line in lines)

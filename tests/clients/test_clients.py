"""Clients that people have, each with its defaults, send all bodies to one server.

A program prints four lines: the labels of a form, of an image as the body, of JSON, and of two
images in a form. Where a language or its library is missing, its test is skipped and says so;
`.ci/run` installs what there is.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import EXAMPLES
from tests.faults.server import Server

HERE = Path(__file__).parent
IMAGES = (str(EXAMPLES / "three.png"), str(EXAMPLES / "five.png"))
SAID = ["3", "3", "3", "3 5"]


def run(command: list[str], server: Server, **environment: str) -> list[str]:
    """Return the lines that a client prints; no proxy stands between it and the server."""
    inherited = {name: text for name, text in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}", *IMAGES],
        env=inherited | environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def require(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} on the PATH")


def test_curl(shipped: Server) -> None:
    require("curl", "base64")
    assert run(["sh", str(HERE / "curl.sh")], shipped) == SAID


@pytest.mark.parametrize("library", ["requests", "httpx", "aiohttp"])
def test_libraries_of_python(shipped: Server, library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"there is no {library} here")
    assert run([sys.executable, str(HERE / f"with_{library}.py")], shipped) == SAID


def test_fetch_of_node(shipped: Server) -> None:
    require("node")
    assert run(["node", str(HERE / "fetch.mjs")], shipped) == SAID


def test_axios_with_form_data(shipped: Server) -> None:
    require("node")
    if not (HERE / "node" / "node_modules" / "axios").is_dir():
        pytest.skip("`npm ci --prefix tests/clients/node` has not installed axios")
    assert run(["node", str(HERE / "node" / "axios.mjs")], shipped) == SAID


def test_the_http_client_of_java(shipped: Server) -> None:
    require("java", "javac")
    assert run(["java", str(HERE / "Predict.java")], shipped) == SAID


def test_go(shipped: Server, tmp_path: Path) -> None:
    require("go")
    folders = {"GOCACHE": str(tmp_path / "cache"), "GOPATH": str(tmp_path / "path")}
    offline = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    assert run(["go", "run", str(HERE / "predict.go")], shipped, **folders, **offline) == SAID


def test_the_curl_of_php(shipped: Server) -> None:
    require("php")
    modules = subprocess.run(["php", "-m"], capture_output=True, text=True, check=True).stdout
    if "curl" not in modules.split():
        pytest.skip("PHP has no curl here")
    assert run(["php", str(HERE / "predict.php")], shipped) == SAID


GENERATED = """
import sys
from base64 import b64encode
from io import BytesIO
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
from generated import Client
from generated.api.digits import predict
from generated.models import OneImage, PredictFilesBody
from generated.types import File

url, three, five = sys.argv[1], *map(Path, sys.argv[2:])
file = lambda path: File(payload=BytesIO(path.read_bytes()), file_name=path.name)
form = lambda *paths: PredictFilesBody(file=[file(path) for path in paths])
document = OneImage.from_dict({"image": b64encode(three.read_bytes()).decode()})
for body in (form(three), file(three), document, form(three, five)):
    answer = predict.sync(client=Client(base_url=url), body=body)
    print(*(prediction.label for prediction in answer.predictions))
"""


def test_a_client_that_openapi_python_client_generates(shipped: Server, tmp_path: Path) -> None:
    if importlib.util.find_spec("openapi_python_client") is None:
        pytest.skip("there is no openapi-python-client here")
    (tmp_path / "settings.yml").write_text("post_hooks: []\n")
    url = f"http://127.0.0.1:{shipped.port}/openapi.json"
    (tmp_path / "openapi.json").write_bytes(httpx.get(url, trust_env=False).content)
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    files = ["--path", "openapi.json", "--config", "settings.yml", "--output-path", "generated"]
    subprocess.run([*command, *files], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    assert run([sys.executable, "-c", GENERATED, str(tmp_path)], shipped) == SAID

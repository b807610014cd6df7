"""nginx and HAProxy themselves mount the service at a path, which they take off or leave."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from digits import Client, ImageError
from tests.conftest import ROOT, png, spoken
from tests.deploy.test_balancer import free_port
from tests.faults.server import Server, serving, wait_until

PAGES = ("", "docs", "redoc", "model", "problems/not-an-image")
SEVEN = png(spoken(7))
DOCUMENTED = (ROOT / "docs" / "operations.md").read_text()
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port};
{rules}
    }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend site
    bind 127.0.0.1:{port}
{rules}
    use_backend digits if {{ var(txn.ours) -m bool }}
backend digits
    server digits 127.0.0.1:{server}
"""


def rules(language: str) -> str:
    """What `docs/operations.md` has the operator write."""
    [block] = re.findall(rf"```{language}\n(.*?)```", DOCUMENTED, re.DOTALL)
    return str(block)


def nginx(folder: Path, port: int, server: int, *, takes_off: bool) -> list[str]:
    text = rules("nginx").replace("127.0.0.1:8000/", f"127.0.0.1:{server}{'/' * takes_off}")
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, rules=text))
    return ["nginx", "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]


def haproxy(folder: Path, port: int, server: int, *, takes_off: bool) -> list[str]:
    redirect, replace = rules("haproxy").splitlines()
    ours = "http-request set-var(txn.ours) bool(true) if { path_beg /digits/ }"
    text = "\n".join([ours, redirect, replace if takes_off else ""])
    file = folder / "haproxy.cfg"
    file.write_text(HAPROXY.format(port=port, server=server, rules=text))
    return ["haproxy", "-db", "-f", str(file)]


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: process.poll() is not None or answers(port))
        assert process.poll() is None, process.communicate()
        yield
    finally:
        process.kill()
        process.communicate()


def answers(port: int) -> bool:
    with suppress(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/")
        return True
    return False


@pytest.fixture(scope="module")
def mounted(stand_in_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that knows where it is mounted."""
    log_file = tmp_path_factory.mktemp("mounted") / "log"
    with serving(stand_in_models, log_file, root_path="/digits") as server:
        yield server


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            (proxy, takes_off),
            marks=pytest.mark.skipif(
                not shutil.which(proxy.__name__), reason=f"there is no {proxy.__name__} here"
            ),
            id=f"{proxy.__name__} {'takes it off' if takes_off else 'leaves it'}",
        )
        for proxy in (nginx, haproxy)
        for takes_off in (True, False)
    ],
)
def site(
    request: pytest.FixtureRequest, mounted: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a proxy before it, with a slash at its end."""
    proxy, takes_off = request.param
    port = free_port()
    folder = tmp_path_factory.mktemp("site")
    with running(proxy(folder, port, mounted.port, takes_off=takes_off), port):
        yield f"http://127.0.0.1:{port}/"


def test_the_client_reads_digits_and_knows_the_problems(site: str) -> None:
    with Client(f"{site}digits") as client:
        assert client.predict(SEVEN, normalize=False).label == 7
        with pytest.raises(ImageError) as raised:
            client.predict(b"text")
    assert raised.value.type == "/digits/problems/not-an-image"
    page = httpx.get(urljoin(site, raised.value.type), headers={"accept": "text/html"})
    assert page.status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_pages_and_all_that_they_name_are_there(site: str, path: str) -> None:
    page = httpx.get(f"{site}digits/{path}", headers={"accept": "text/html"})
    assert page.status_code == 200
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert named
    for address in set(named):
        assert httpx.get(urljoin(str(page.url), address)).status_code == 200, address


def test_the_document_leads_to_the_service(site: str) -> None:
    document = httpx.get(f"{site}digits/openapi.json").json()
    [server] = document["servers"]
    address = urljoin(site, server["url"]) + "/predict?normalize=false"
    answer = httpx.post(address, content=SEVEN, headers={"content-type": "image/png"})
    assert answer.json()["predictions"][0]["label"] == 7


@pytest.mark.parametrize("path", ["digits", "digits/docs/", "digits/model/"])
def test_redirects_stay_below_the_path(site: str, path: str) -> None:
    page = httpx.get(site + path, follow_redirects=True)
    assert page.status_code == 200
    assert str(page.url).startswith(f"{site}digits/")
    assert page.history

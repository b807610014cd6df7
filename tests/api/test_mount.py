"""Below a path that a proxy takes off or leaves: the addresses that are given out lead back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.api.middleware import LOCKED_PATHS
from app.api.mount import OWN_SEGMENTS, is_ambiguous
from app.main import create_app
from app.settings import Settings
from tests.api.calls import PNG, SEVEN, labels

ROOT_PATH = "/tools/digits"
KEY = "a-key"
KEYED = {**PNG, "x-api-key": KEY}


@pytest.fixture(scope="module")
def mounted(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of the service at `ROOT_PATH`, which wants a key."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(hashlib.sha256(KEY.encode()).hexdigest())
    values: dict[str, Any] = {"root_path": ROOT_PATH, "api_keys_file": keys}
    app = create_app(Settings(**{**settings.model_dump(), **values}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(params=["", ROOT_PATH], ids=["taken off", "left"])
def prefix(request: pytest.FixtureRequest) -> str:
    """What the proxy leaves of the mount's path."""
    return str(request.param)


@pytest.mark.parametrize("path", ["/predict?normalize=false", "/predict/?normalize=false"])
def test_digits_are_read(mounted: TestClient, prefix: str, path: str) -> None:
    assert labels(mounted.post(prefix + path, content=SEVEN, headers=KEYED)) == [7]


@pytest.mark.parametrize("path", LOCKED_PATHS)
def test_no_way_leads_past_the_key(mounted: TestClient, prefix: str, path: str) -> None:
    response = mounted.post(prefix + path, content=SEVEN, headers=PNG)
    assert response.status_code == 401


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_the_type_of_a_problem_leads_to_its_page(
    mounted: TestClient, prefix: str, accept: str
) -> None:
    document = mounted.post(f"{prefix}/predict", content=b"text", headers=KEYED).json()
    assert document["type"] == f"{ROOT_PATH}/problems/not-an-image"
    page = mounted.get(document["type"], headers={"accept": accept})
    assert page.status_code == 200
    assert document["type"] in page.text


def test_the_document_says_where_its_paths_are(mounted: TestClient, prefix: str) -> None:
    document = mounted.get(f"{prefix}/openapi.json").json()
    assert document["servers"] == [{"url": ROOT_PATH}]
    assert "/predict" in document["paths"]


def test_at_the_root_the_document_names_no_server(client: TestClient) -> None:
    assert "servers" not in client.get("/openapi.json").json()


def test_other_protocols_keep_their_form_of_an_error(mounted: TestClient, prefix: str) -> None:
    response = mounted.post(f"{prefix}/v1/models/digits:predict", content=b"{", headers=KEYED)
    assert response.json().keys() == {"error"}


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/docs/", "../docs"),
        ("/docs///", "../../../docs"),
        ("/problems/not-found/?a=b&c", "../not-found?a=b&c"),
        ("/nowhere/", None),
    ],
)
def test_a_slash_too_many_leads_to_the_same_place(
    mounted: TestClient, prefix: str, path: str, location: str | None
) -> None:
    response = mounted.get(prefix + path, follow_redirects=False)
    assert response.status_code == (404 if location is None else 307)
    assert response.headers.get("location") == location
    if location:
        assert mounted.get(prefix + path).status_code == 200


def test_the_mount_itself_is_the_page(mounted: TestClient) -> None:
    response = mounted.get(f"{ROOT_PATH}?a", follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (307, "digits/?a")
    assert response.headers["x-request-id"]
    assert mounted.get(ROOT_PATH).text == mounted.get(f"{ROOT_PATH}/").text


def test_a_path_that_begins_alike_is_another(mounted: TestClient) -> None:
    assert mounted.get(f"{ROOT_PATH}-old/healthz").status_code == 404


def test_the_paths_of_the_service_are_known(mounted: TestClient) -> None:
    app: Any = mounted.app
    paths = [route.path for route in [*app.plain_routes, *app.routes] if hasattr(route, "path")]
    paths += app.openapi()["paths"]
    assert {path.split("/")[1] for path in paths} - {""} <= OWN_SEGMENTS


@pytest.mark.parametrize("path", ["/web", "/v1/digits", "/predict"])
def test_a_mount_that_looks_like_a_path_of_its_own_is_not_clear(path: str) -> None:
    assert is_ambiguous(path)


@pytest.mark.parametrize("path", ["", "/digits", "/tools/web"])
def test_another_mount_is_clear(path: str) -> None:
    assert not is_ambiguous(path)

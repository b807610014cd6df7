from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from app.api.middleware import (
    ApiKeyMiddleware,
    TelemetryMiddleware,
    is_locked,
    read_key_hashes,
)
from app.main import create_app
from app.observe.metrics import Metrics
from app.settings import Settings

KEY = "correct horse battery staple"
OTHER_KEY = "another"


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


async def answer(request: Request) -> Response:
    return PlainTextResponse("in")


guarded = TestClient(
    Starlette(
        routes=[Route("/predict", answer, methods=["POST"]), Route("/healthz", answer)],
        middleware=[
            Middleware(TelemetryMiddleware, metrics=Metrics(), log_requests=False),
            Middleware(ApiKeyMiddleware, hashes=frozenset({sha256(KEY), sha256(OTHER_KEY)})),
        ],
    )
)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 401, id="no key"),
        pytest.param({"authorization": f"Bearer {KEY}"}, 200, id="bearer"),
        pytest.param({"authorization": f"bearer  {KEY}"}, 200, id="scheme in lower case"),
        pytest.param({"authorization": f"Bearer {OTHER_KEY}"}, 200, id="another key"),
        pytest.param({"x-api-key": KEY}, 200, id="x-api-key"),
        pytest.param({"authorization": "Basic Zm9v", "x-api-key": KEY}, 200, id="a proxy's basic"),
        pytest.param({"authorization": "Bearer wrong"}, 403, id="wrong bearer"),
        pytest.param({"x-api-key": "wrong"}, 403, id="wrong x-api-key"),
        pytest.param({"x-api-key": sha256(KEY)}, 403, id="the hash itself"),
        pytest.param({"x-api-key": ""}, 401, id="empty x-api-key"),
        pytest.param({"authorization": "Bearer "}, 401, id="empty bearer"),
        pytest.param({"authorization": f"Basic {KEY}"}, 401, id="another scheme"),
        pytest.param({"x-api-key": b"\xff\xfe"}, 403, id="not ascii"),
    ],
)
def test_a_key_opens_what_is_locked(headers: dict[str, str], status: int) -> None:
    assert guarded.post("/predict", headers=headers).status_code == status


def test_a_missing_key_is_a_problem_that_says_how() -> None:
    refusal = guarded.post("/predict", headers={"x-request-id": "abc"})
    assert refusal.headers["content-type"] == "application/problem+json"
    assert refusal.headers["www-authenticate"] == 'Bearer realm="digits"'
    assert refusal.headers["x-request-id"] == refusal.json()["request_id"] == "abc"
    assert refusal.json()["type"] == "/problems/unauthorized"


def test_a_wrong_key_is_not_repeated() -> None:
    refusal = guarded.post("/predict", headers={"x-api-key": "my-secret"})
    assert refusal.json()["type"] == "/problems/forbidden"
    assert "my-secret" not in refusal.text
    assert "www-authenticate" not in refusal.headers


def test_health_wants_no_key() -> None:
    assert guarded.get("/healthz").text == "in"


@pytest.mark.parametrize(
    ("path", "locked"),
    [
        ("/predict", True),
        ("/predict/", True),
        ("/read", True),
        ("/predicted", False),
        ("/", False),
        ("/healthz", False),
        ("/metrics", False),
        ("/docs", False),
        ("/openapi.json", False),
        ("/web/page.js", False),
    ],
)
def test_what_is_locked(path: str, locked: bool) -> None:
    assert is_locked(path) is locked


def test_a_key_file_has_comments_and_blank_lines(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# the form\n{sha256(KEY)}\n\n{sha256(OTHER_KEY).upper()}  # the game\n")
    assert read_key_hashes(file) == {sha256(KEY), sha256(OTHER_KEY)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "can't be read", id="missing"),
        pytest.param(b"\xff\xfe", "can't be read", id="binary"),
        pytest.param(b"", "holds no hash", id="empty"),
        pytest.param(b"# later\n", "holds no hash", id="comments alone"),
        pytest.param(b"# ok\nsecret-key\n", "line 2 is no SHA-256", id="a key, not its hash"),
        pytest.param(b"a" * 63, "line 1 is no SHA-256", id="one digit short"),
    ],
)
def test_a_bad_key_file_says_what_is_wrong(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_key_hashes(file)
    assert "secret-key" not in str(raised.value)


def test_every_answer_has_an_id_and_keeps_its_type() -> None:
    answered = guarded.get("/healthz")
    assert answered.headers["x-content-type-options"] == "nosniff"
    assert len(answered.headers["x-request-id"]) == 32


def test_a_sane_id_of_the_client_is_kept() -> None:
    for sent, kept in (("trace-1", True), ("two words", False), ("x" * 129, False)):
        answered = guarded.get("/healthz", headers={"x-request-id": sent})
        assert (answered.headers["x-request-id"] == sent) is kept


# The application's own wiring, without its lifespan: a refusal at the door needs no model.


def test_no_origin_is_let_in_by_default() -> None:
    client = TestClient(create_app(Settings()))
    asked = client.get("/livez", headers={"origin": "https://form.example"})
    assert not [name for name in asked.headers if name.startswith("access-control-")]
    preflight = {"origin": "https://form.example", "access-control-request-method": "POST"}
    assert client.options("/predict", headers=preflight).status_code == 405


def test_named_origins_are_let_in(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(sha256(KEY))
    settings = Settings(cors_origins=("https://form.example",), api_keys_file=keys)
    client = TestClient(create_app(settings))
    preflight = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-api-key",
    }
    allowed = client.options("/predict", headers=preflight | {"origin": "https://form.example"})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://form.example"
    other = client.options("/predict", headers=preflight | {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    refusal = client.post("/predict", headers={"origin": "https://form.example"})
    assert refusal.status_code == 401
    assert refusal.headers["access-control-allow-origin"] == "https://form.example"
    assert "X-Request-ID" in refusal.headers["access-control-expose-headers"]


def test_the_document_says_when_a_key_is_wanted(tmp_path: Path) -> None:
    assert "securitySchemes" not in create_app(Settings()).openapi()["components"]
    keys = tmp_path / "keys"
    keys.write_text(sha256(KEY))
    document = create_app(Settings(api_keys_file=keys)).openapi()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    predict = document["paths"]["/predict"]["post"]
    assert predict["security"] == [{"bearer": []}, {"header": []}]
    assert {"401", "403"} <= predict["responses"].keys()
    assert "security" not in document["paths"]["/healthz"]["get"]


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        pytest.param(RuntimeError("not to be seen"), 500, "internal-error", id="failed"),
        pytest.param(asyncio.CancelledError(), 503, "draining", id="stopped"),
    ],
)
def test_what_ends_here_is_counted_and_has_its_id(
    error: BaseException, status: int, slug: str
) -> None:
    async def fail(request: Request) -> Response:
        raise error

    metrics = Metrics()
    telemetry = Middleware(TelemetryMiddleware, metrics=metrics, log_requests=False)
    client = TestClient(Starlette(routes=[Route("/", fail)], middleware=[telemetry]))
    failure = client.get("/", headers={"x-request-id": "abc"})
    assert failure.status_code == status
    assert failure.headers["content-type"] == "application/problem+json"
    assert failure.headers["x-request-id"] == failure.json()["request_id"] == "abc"
    assert failure.json()["type"] == f"/problems/{slug}"
    assert ("retry-after" in failure.headers) is (status == 503)
    assert "not to be seen" not in failure.text
    assert f'status="{status}"' in metrics.exposition().decode()

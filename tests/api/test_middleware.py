from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from app.api.middleware import (
    ApiKeyMiddleware,
    TelemetryMiddleware,
    is_locked,
    read_key_hashes,
)
from app.inference.classifier import Rejection
from app.main import create_app
from app.observe.metrics import Metrics, shared_folder
from app.settings import Settings
from tests.api.calls import AS_IS, PNG, SEVEN, detail_of, labels

KEY = "correct horse battery staple"
OTHER_KEY = "another"


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    return Metrics(shared_folder(), version="0", reasons=Rejection)


def telemetry(metrics: Metrics, *, log_requests: bool = False) -> Middleware:
    return Middleware(TelemetryMiddleware, metrics=metrics, log_requests=log_requests)


async def answer(request: Request) -> Response:
    return PlainTextResponse("in")


@pytest.fixture(scope="module")
def guarded(metrics: Metrics) -> TestClient:
    """A client of two routes, one of which wants a key."""
    hashes = frozenset({sha256(KEY), sha256(OTHER_KEY)})
    routes = [Route("/predict", answer, methods=["POST"]), Route("/healthz", answer)]
    middleware = [telemetry(metrics), Middleware(ApiKeyMiddleware, hashes=hashes)]
    return TestClient(Starlette(routes=routes, middleware=middleware))


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
def test_a_key_opens_what_is_locked(
    guarded: TestClient, headers: dict[str, str], status: int
) -> None:
    assert guarded.post("/predict", headers=headers).status_code == status


def test_a_missing_key_is_a_problem_that_says_how(guarded: TestClient) -> None:
    refusal = guarded.post("/predict", headers={"x-request-id": "abc"})
    assert refusal.headers["content-type"] == "application/problem+json"
    assert refusal.headers["www-authenticate"] == 'Bearer realm="digits"'
    assert refusal.headers["x-request-id"] == refusal.json()["request_id"] == "abc"
    detail = detail_of(refusal, "unauthorized")
    assert detail == "Send `Authorization: Bearer <key>` or `X-API-Key: <key>`."


def test_a_wrong_key_is_not_repeated(guarded: TestClient) -> None:
    refusal = guarded.post("/predict", headers={"x-api-key": "my-secret"})
    assert detail_of(refusal, "forbidden") == "Ask the operator for a key that is."
    assert "my-secret" not in refusal.text
    assert "www-authenticate" not in refusal.headers


def test_health_wants_no_key(guarded: TestClient) -> None:
    assert guarded.get("/healthz").text == "in"


@pytest.mark.parametrize(
    ("path", "locked"),
    [
        ("/predict", True),
        ("/predict/", True),
        ("/predict/x", True),
        ("/predicts", False),
        ("/v1/models/digits:predict", True),
        ("/v1/models/digits", True),
        ("/v2/models/digits/infer", True),
        ("/v2/repository/index", True),
        ("/v2", False),
        ("/v2/health/ready", False),
        ("/", False),
        ("/healthz", False),
        ("/metrics", False),
        ("/model", False),
        ("/docs", False),
        ("/openapi.json", False),
        ("/web/page.js", False),
        ("/problems/forbidden", False),
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


# Telemetry


@pytest.mark.parametrize("request_id", ["abc", "A-1_2.3~+/=", "x" * 128])
def test_a_sane_request_id_is_kept(client: TestClient, request_id: str) -> None:
    for path in ("/livez", "/nowhere", "/predict", "/web/style.css"):
        response = client.get(path, headers={"x-request-id": request_id})
        assert response.headers.get_list("x-request-id") == [request_id]


@pytest.mark.parametrize("request_id", ["", " ", "a b", 'a"b', "x" * 129, "a\tb", b"\xff"])
def test_another_request_id_is_replaced(client: TestClient, request_id: str) -> None:
    response = client.get("/nowhere", headers={"x-request-id": request_id})
    (found,) = response.headers.get_list("x-request-id")
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert response.json()["request_id"] == found


def test_each_request_without_an_id_has_its_own(client: TestClient) -> None:
    found = {client.post(AS_IS, content=SEVEN).headers["x-request-id"] for _ in range(20)}
    assert len(found) == 20


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        pytest.param(RuntimeError("s3cr3t"), 500, "internal-error", id="failed"),
        pytest.param(asyncio.CancelledError(), 503, "draining", id="stopped"),
    ],
)
def test_what_fails_is_answered_counted_and_has_its_id(
    metrics: Metrics, error: BaseException, status: int, slug: str
) -> None:
    async def fail(request: Request) -> Response:
        raise error

    routes = [Route(f"/{slug}", fail)]
    client = TestClient(Starlette(routes=routes, middleware=[telemetry(metrics)]))
    with capture_logs() as lines:
        response = client.get(f"/{slug}", headers={"x-request-id": "abc"})
    assert detail_of(response, slug)
    assert response.headers["x-request-id"] == "abc"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "s3cr3t" not in response.text
    assert f'status="{status}"' in metrics.exposition().decode()
    assert [line["event"] for line in lines] == (["failed", "request"] if status == 500 else [])
    assert all(line["request_id"] == "abc" for line in lines)


def test_what_fails_in_the_midst_of_its_answer_is_cut_off(metrics: Metrics) -> None:
    async def stream(request: Request) -> Response:
        async def chunks() -> object:
            yield b"x"
            raise RuntimeError

        return StreamingResponse(chunks())  # type: ignore[arg-type]

    client = TestClient(Starlette(routes=[Route("/", stream)], middleware=[telemetry(metrics)]))
    with pytest.raises(RuntimeError):
        client.get("/")


@pytest.mark.parametrize("log_requests", [False, True])
def test_a_request_has_a_line_where_that_is_set(metrics: Metrics, log_requests: bool) -> None:
    middleware = [telemetry(metrics, log_requests=log_requests)]
    client = TestClient(Starlette(routes=[Route("/", answer)], middleware=middleware))
    with capture_logs() as lines:
        client.get("/?s3cr3t", headers={"x-request-id": "abc"})
        client.get("/s3cr3t")
    assert len(lines) == (2 if log_requests else 0)
    for line, status in zip(lines, (200, 404), strict=False):
        assert (line["event"], line["log_level"], line["status"]) == ("request", "info", status)
        assert "s3cr3t" not in str(line)


def test_other_connections_pass(metrics: Metrics) -> None:
    passed: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        raise AssertionError

    for middleware in (
        TelemetryMiddleware(app, metrics=metrics, log_requests=True),
        ApiKeyMiddleware(app, hashes=frozenset()),
    ):
        asyncio.run(middleware({"type": "lifespan"}, receive, send))
    assert passed == ["lifespan", "lifespan"]


# The application's own wiring, without its lifespan: a refused key needs no model.


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
    assert detail_of(refusal, "unauthorized")
    assert refusal.headers["access-control-allow-origin"] == "https://form.example"
    exposed = refusal.headers["access-control-expose-headers"].lower().split(", ")
    assert {*exposed} == {"x-request-id", "retry-after", "inference-header-content-length"}


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


def test_any_origin_may_be_let_in() -> None:
    client = TestClient(create_app(Settings(cors_origins=("*",))))
    response = client.get("/livez", headers={"origin": "https://form.example"})
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers


def test_a_preflight_has_an_id_and_needs_no_key(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(sha256(KEY))
    client = TestClient(create_app(Settings(cors_origins=("*",), api_keys_file=keys)))
    headers = {"origin": "https://form.example", "access-control-request-method": "POST"}
    response = client.options("/predict", headers=headers)
    assert response.status_code == 200
    assert {"GET", "POST"} == set(response.headers["access-control-allow-methods"].split(", "))
    assert "x-request-id" in response.headers
    assert response.headers["x-content-type-options"] == "nosniff"


def test_a_key_is_asked_for_before_the_body_is_read(settings: Settings, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{sha256(KEY)}\n{sha256(OTHER_KEY)}\n")
    with TestClient(create_app(settings.model_copy(update={"api_keys_file": keys}))) as client:
        broken = {"content": bytes(200_001), "headers": PNG}
        assert detail_of(client.post(AS_IS, **broken), "unauthorized")
        for path in ("/predict", "/predict/"):
            assert detail_of(client.post(path, content=SEVEN), "unauthorized")
            wrong = client.post(path, content=SEVEN, headers={"x-api-key": "wrong"})
            assert detail_of(wrong, "forbidden")
        for key in ({"authorization": f"Bearer {KEY}"}, {"x-api-key": OTHER_KEY}):
            assert labels(client.post(AS_IS, content=SEVEN, headers=PNG | key)) == [7]
        for path in ("/", "/healthz", "/metrics", "/model", "/openapi.json"):
            assert client.get(path).status_code == 200

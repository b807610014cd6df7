"""HAProxy itself, with the file that ships, before replicas that are replaced and killed."""

from __future__ import annotations

import http.client
import itertools
import re
import shutil
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from app.settings import Settings
from tests.conftest import ROOT, png, spoken
from tests.faults.server import (
    Reply,
    Server,
    read_reply,
    request,
    serving,
    start,
    wait_until,
    wait_until_listening,
)

HAPROXY = shutil.which("haproxy")
needs_haproxy = pytest.mark.skipif(not HAPROXY, reason="there is no haproxy here")
CONFIG = (ROOT / "deploy/balancer/haproxy.cfg").read_text()
DEFAULTS = Settings.model_construct()
SMALL = png(spoken(7))
LARGE = png(np.random.default_rng(1).integers(0, 255, (250, 250), np.uint8))
"""More than HAProxy's buffer, so that it can't be sent a second time."""
BUFFER_BYTES = int(re.findall(r"tune\.bufsize (\d+)", CONFIG)[0])


class ComposeLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Reads Compose's `!reset` as the value behind it."""


ComposeLoader.add_constructor(
    "!reset", lambda loader, node: loader.construct_sequence(node, deep=True)
)


def overlay() -> dict[str, Any]:
    text = (ROOT / "deploy/balancer/compose.yml").read_text()
    services: dict[str, Any] = yaml.load(text, ComposeLoader)["services"]  # noqa: S506 -- it is safe
    return services


def overlay_settings() -> dict[str, str]:
    environment: dict[str, str] = overlay()["digits"]["environment"]
    return {name.removeprefix("DIGITS_").lower(): value for name, value in environment.items()}


def seconds(name: str) -> float:
    """A time that the configuration says by `name`."""
    [(count, unit)] = re.findall(rf"\b{name} (\d+)(ms|s)\b", CONFIG)
    return int(count) / (1000 if unit == "ms" else 1)


def test_the_balancer_is_more_patient_than_a_replica() -> None:
    assert seconds("timeout server") > DEFAULTS.deadline_seconds
    assert seconds("timeout client") >= DEFAULTS.body_seconds
    assert seconds("timeout http-request") >= DEFAULTS.header_seconds
    assert seconds("timeout http-keep-alive") < DEFAULTS.keep_alive_seconds
    [repeated] = re.findall(r"content-length\) 1:(\d+)", CONFIG)
    assert DEFAULTS.max_header_bytes < BUFFER_BYTES
    assert int(repeated) < BUFFER_BYTES


def test_the_balancer_looks_away_before_the_notice_is_over() -> None:
    [checks] = re.findall(r"\bfall (\d+)", CONFIG)
    notice = float(overlay_settings()["drain_notice_seconds"])
    assert seconds("inter") * (int(checks) + 1) < notice
    base = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["digits"]
    assert float(base["stop_grace_period"].rstrip("s")) > notice + DEFAULTS.drain_seconds


def test_only_the_balancer_is_published() -> None:
    assert overlay()["digits"]["ports"] == []
    assert overlay()["balancer"]["ports"][0].endswith(":8000")
    assert "bind :8000" in CONFIG
    assert f"digits:{DEFAULTS.port} check" in CONFIG
    assert set(overlay_settings()) <= set(Settings.model_fields)


@dataclass
class Balancer:
    """A running HAProxy."""

    port: int
    figures_port: int

    def states(self) -> list[bool]:
        """Whether each replica is up, in the balancer's eyes."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.figures_port}/metrics") as reply:
            figures = reply.read().decode()
        ups = re.findall(r'haproxy_server_status\{.*server="replica\d+",state="UP"\} (\d)', figures)
        return [up == "1" for up in ups]

    def exchange(self, data: bytes) -> Reply:
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            with suppress(ConnectionError):  # an early refusal is no reason not to read it
                connection.sendall(data)
            return read_reply(connection)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def balancing(replicas: list[Server], folder: Path) -> Iterator[Balancer]:
    """The shipped file, with these ports and servers in place of the names that Docker resolves."""
    balancer = Balancer(free_port(), free_port())
    servers = "".join(
        f"    server replica{index} 127.0.0.1:{replica.port} check\n"
        for index, replica in enumerate(replicas, start=1)
    )
    text, count = re.subn(r"    server-template .+\n", servers, CONFIG)
    assert count == 1
    text = text.replace(":8000\n", f"127.0.0.1:{balancer.port}\n")
    text = text.replace(":8405\n", f"127.0.0.1:{balancer.figures_port}\n")
    file = folder / "haproxy.cfg"
    file.write_text(text)
    assert HAPROXY
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([HAPROXY, "-db", "-f", file], stdout=log, stderr=log)
    try:
        wait_until(lambda: _accepts(balancer.port) and all(balancer.states()))
        yield balancer
    finally:
        process.kill()
        process.wait()


def _accepts(port: int) -> bool:
    with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@dataclass
class Load:
    """Clients that keep their connections and ask again and again.

    Attributes:
        answered: Requests with 200.
        failures: What the others got instead.
    """

    port: int
    bodies: list[bytes]
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self, clients: int = 4) -> Iterator[Load]:
        threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.stopped.set()
            for thread in threads:
                thread.join()

    def wait_for(self, more: int) -> None:
        """Until so many more are answered."""
        goal = self.answered + more
        wait_until(lambda: self.answered >= goal or self.failures)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        for body in itertools.cycle(self.bodies):
            if self.stopped.wait(0.005):
                break
            try:
                connection.request("POST", "/predict", body, {"content-type": "image/png"})
                response = connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            if response.status == 200:
                self.answered += 1
            else:
                self.failures.append(f"{response.status} {text!r}")
        connection.close()


REQUESTS = "digits_http_request_duration_seconds_count"
PREDICTED = REQUESTS + '{method="POST",route="/predict",status="200"}'


@pytest.fixture(scope="module")
def replicas(
    stand_in_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Server]]:
    """Two replicas, as the overlay sets them; a test that ends one puts another in its place."""
    folder = tmp_path_factory.mktemp("replicas")
    settings = overlay_settings()
    with (
        serving(stand_in_models, folder / "0", **settings) as first,
        serving(stand_in_models, folder / "1", **settings) as second,
    ):
        servers = [first, second]
        yield servers
    for server in servers:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module")
def balancer(
    replicas: list[Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Balancer]:
    with balancing(replicas, tmp_path_factory.mktemp("balancer")) as running:
        yield running


@needs_haproxy
def test_haproxy_takes_the_file_without_a_warning() -> None:
    assert HAPROXY
    done = subprocess.run(
        [HAPROXY, "-c", "-f", "deploy/balancer/haproxy.cfg"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not re.search("warning|alert", done.stdout + done.stderr, re.IGNORECASE)


@needs_haproxy
def test_the_limits_are_those_of_the_replica(balancer: Balancer) -> None:
    length = str(DEFAULTS.max_body_bytes + 1)
    head = request("POST", "/predict", {"content-type": "image/png", "content-length": length})
    head = head.replace(b"content-length: 0\r\n", b"")
    assert balancer.exchange(head).problem == "body-too-large"
    padding = {"x-padding": "x" * DEFAULTS.max_header_bytes}
    assert balancer.exchange(request("GET", "/healthz", padding)).problem == "headers-too-large"
    assert balancer.exchange(request("GET", "/metrics")).status == 404


@needs_haproxy
def test_every_replica_is_replaced_without_a_failed_request(
    balancer: Balancer, replicas: list[Server], stand_in_models: Path, tmp_path: Path
) -> None:
    assert len(LARGE) > BUFFER_BYTES
    with Load(balancer.port, [SMALL, LARGE]).running() as load:
        load.wait_for(50)
        for index, old in enumerate(replicas):
            assert old.metric(PREDICTED) > 0
            old.process.terminate()
            assert old.process.wait(60) in (0, -15, 143), old.log
            load.wait_for(20)
            settings = overlay_settings() | {"port": str(old.port)}
            new = start(stand_in_models, tmp_path / str(index), **settings)
            replicas[index] = new
            wait_until_listening(new)
            wait_until(lambda: all(balancer.states()))
            load.wait_for(50)
    assert load.failures == []
    assert all(replica.metric(PREDICTED) > 0 for replica in replicas)


@needs_haproxy
def test_what_a_killed_replica_leaves_is_asked_of_another(
    balancer: Balancer, replicas: list[Server]
) -> None:
    with Load(balancer.port, [SMALL]).running() as load:
        load.wait_for(50)
        replicas[0].process.kill()
        wait_until(lambda: balancer.states() == [False, True])
        load.wait_for(50)
    assert load.failures == []

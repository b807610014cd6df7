"""Ray Serve on a cluster of three nodes, under load: `python -m benchmarks.ray_cluster`.

Replicas are seen to become more and fewer; one of them is killed, then a node with one. Prints what
happened, and fails unless every request was answered, some after the client's retry. It wants the
extra `ray` and some 5 GB of memory, and takes minutes: three nodes' processes on one machine.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray import serve
from ray.cluster_utils import Cluster

from deploy.ray.digits_serve import Digits
from digits import Client, DigitsError
from digits.retries import Retries

ROOT = Path(__file__).parent.parent
PICTURE = (ROOT / "docs" / "examples" / "three.png").read_bytes()
PORT = 8765
PATIENCE_SECONDS = 120
SETTINGS = {"DIGITS_WORKERS": "1", "DIGITS_WORKER_THREADS": "1", "PYTHONPATH": str(ROOT)}
AUTOSCALING = {
    "min_replicas": 1,
    "max_replicas": 3,
    "target_ongoing_requests": 4,
    "upscale_delay_s": 2,
    "downscale_delay_s": 5,
    "metrics_interval_s": 1,
    "look_back_period_s": 3,
}


class Load:
    """Clients that ask again and again, with the client's retries."""

    def __init__(self) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, clients: int) -> None:
        """Start so many clients more."""
        more = [threading.Thread(target=self._ask) for _ in range(clients)]
        self._threads += more
        for thread in more:
            thread.start()

    def stop(self) -> None:
        """Let them end after their last answer."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        retries = Retries(attempts=8)
        url = f"http://127.0.0.1:{PORT}"
        with Client(url, retries=retries, timeout_seconds=30) as client:
            while not self._stopped.is_set():
                try:
                    label = client.predict(PICTURE).label
                except DigitsError as error:
                    self.failures.append(repr(error))
                    continue
                if label == 3:
                    self.answered += 1
                else:
                    self.failures.append(f"label {label}")


def replicas() -> int:
    """Return how many replicas run."""
    deployment = serve.status().applications["digits"].deployments["Digits"]
    return int(deployment.replica_states.get("RUNNING", 0))


def replica_processes() -> list[int]:
    """Return the process IDs of this program's replicas."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_text()
            except OSError:  # it has ended
                continue
            parents[int(entry.name)] = int(stat[1]), command
    return [
        pid
        for pid, (_, command) in parents.items()
        if command.startswith("ray::ServeReplica:digits:Digits") and _is_ours(pid, parents)
    ]


def _is_ours(pid: int, parents: dict[int, tuple[int, str]]) -> bool:
    while pid in parents:
        pid = parents[pid][0]
        if pid == os.getpid():
            return True
    return False


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds, and print that it does.

    Raises:
        TimeoutError: It did not within PATIENCE_SECONDS.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise TimeoutError(what)
        time.sleep(0.2)
    print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True)


def main() -> None:
    """Do it all, print what happened."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    ray.init(address=cluster.address, runtime_env={"env_vars": SETTINGS}, log_to_driver=False)
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": PORT})
    deployment = Digits.options(autoscaling_config=AUTOSCALING)  # type: ignore[attr-defined]
    serve.run(deployment.bind(), name="digits", route_prefix="/")
    load = Load()
    try:
        watch(cluster, nodes, load)
    finally:
        load.stop()
    wait_for("scaled down to one replica", lambda: len(replica_processes()) == 1)
    print(f"{load.answered} answered, {len(load.failures)} failed {load.failures[:3]}")
    serve.shutdown()
    ray.shutdown()
    cluster.shutdown()
    if load.failures:
        raise SystemExit(1)


def watch(cluster: Cluster, nodes: list[object], load: Load) -> None:
    """Scale up, then take a replica and a node away."""
    load.start(2)
    wait_for("answers of one replica", lambda: load.answered > 20 and replicas() == 1)
    load.start(22)
    wait_for("scaled up to three replicas", lambda: replicas() == 3)
    victim = replica_processes()[0]
    os.kill(victim, signal.SIGKILL)
    wait_for("a replica was killed", lambda: victim not in replica_processes())
    wait_for("three again", lambda: replicas() == len(replica_processes()) == 3)
    answered = load.answered
    wait_for("50 more answers", lambda: load.answered > answered + 50)
    cluster.remove_node(nodes[0], allow_graceful=False)
    wait_for("a node was killed", lambda: len(replica_processes()) < 3)
    cluster.add_node(num_cpus=2)
    wait_for("three again, on another node", lambda: replicas() == len(replica_processes()) == 3)
    answered = load.answered
    wait_for("50 more answers", lambda: load.answered > answered + 50)


if __name__ == "__main__":
    main()

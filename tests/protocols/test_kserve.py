"""KServe's own client, in an environment of its own: it wants another protobuf than TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess

import httpx
import numpy as np
import pytest

from tests.conftest import EXAMPLES, ROOT
from tests.faults.server import Server

PYTHONS = [ROOT / folder / "bin" / "python" for folder in (".kserve", ".peers/kserve")]
INSTALLED = [python for python in PYTHONS if os.access(python, os.X_OK)]
SCRIPT = ROOT / "tests" / "protocols" / "kserve_client.py"


@pytest.mark.skipif(not INSTALLED, reason="no KServe here: `make .kserve/stamp` installs it")
def test_kserve_s_client_has_the_same_answers_by_every_way(shipped: Server) -> None:
    address = f"http://127.0.0.1:{shipped.port}"
    done = subprocess.run(
        [INSTALLED[0], SCRIPT, address, f"127.0.0.1:{shipped.grpc_port}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 13:16] = 255
    with httpx.Client(base_url=address, timeout=60) as client:
        answers = {
            "images": client.post("/predict", json={"image": image.tolist()}),
            "files": client.post("/predict", content=(EXAMPLES / "five.png").read_bytes()),
        }
    for name, answer in answers.items():
        [one] = answer.json()["predictions"]
        wanted = np.array(one["probabilities"], np.float32).tobytes().hex()
        ways = {way: numbers for way, numbers in found.items() if name in way}
        assert ways == dict.fromkeys(ways, wanted)
        assert len(ways) >= 3

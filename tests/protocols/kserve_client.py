"""Asks a service by KServe's own client, run in its environment: `HTTP_ADDRESS GRPC_ADDRESS`.

Writes a JSON object: the probabilities of the documentation's five by each way, in hex.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

FIVE = Path(__file__).parents[2] / "docs" / "examples" / "five.png"
MODEL = "digits"
BOX = np.zeros((1, 28, 28), np.uint8)
BOX[0, 4:24, 13:16] = 255


def request(name: str, datatype: str, tensor: Any, *, binary: bool) -> InferRequest:
    one = InferInput(name, [*tensor.shape], datatype)
    one.set_data_from_numpy(tensor, binary_data=binary)
    return InferRequest(MODEL, [one])


def images(*, binary: bool) -> InferRequest:
    return request("images", "UINT8", BOX, binary=binary)


def files(*, binary: bool) -> InferRequest:
    file = FIVE.read_bytes() if binary else base64.b64encode(FIVE.read_bytes())
    return request("image_bytes", "BYTES", np.array([file], object), binary=binary)


def probabilities(answer: Any) -> str:
    [output] = [one for one in answer.outputs if one.name == "probabilities"]
    return np.asarray(output.as_numpy(), np.float32).tobytes().hex()


async def by_http(address: str) -> dict[str, str]:
    found = {}
    first = InferenceRESTClient(RESTConfig(protocol="v1", timeout=60))
    assert await first.is_model_ready(address, MODEL)
    instances = {"instances": BOX.tolist()}
    answer = await first.infer(address, instances, model_name=MODEL)
    numbers = np.array(answer["predictions"][0]["probabilities"], np.float32)
    found["V1, images"] = numbers.tobytes().hex()
    second = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
    assert await second.is_server_live(address)
    assert await second.is_server_ready(address)
    assert await second.is_model_ready(address, MODEL)
    for binary in (True, False):
        for name, make in (("images", images), ("files", files)):
            answer = await second.infer(address, make(binary=binary), model_name=MODEL)
            found[f"V2, {name}, binary {binary}"] = probabilities(answer)
    await first.close()
    await second.close()
    return found


async def by_grpc(address: str) -> dict[str, str]:
    found = {}
    client = InferenceGRPCClient(address, timeout=60)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready(MODEL)
    for binary in (True, False):
        found[f"gRPC, images, raw {binary}"] = probabilities(
            await client.infer(images(binary=binary))
        )
    found["gRPC, files, raw True"] = probabilities(await client.infer(files(binary=True)))
    await client.close()
    return found


async def main() -> None:
    http_address, grpc_address = sys.argv[1:]
    found = await by_http(http_address) | await by_grpc(grpc_address)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())

"""httpx."""

import base64
import sys
from pathlib import Path

import httpx

url, three, five = sys.argv[1] + "/predict", Path(sys.argv[2]), Path(sys.argv[3])


def show(answer: httpx.Response) -> None:
    """Print the labels."""
    answer.raise_for_status()
    print(*(prediction["label"] for prediction in answer.json()["predictions"]))


with httpx.Client() as client:
    with three.open("rb") as image:
        show(client.post(url, files={"file": image}))
    show(client.post(url, content=three.read_bytes()))
    show(client.post(url, json={"image": base64.b64encode(three.read_bytes()).decode()}))
    with three.open("rb") as one, five.open("rb") as other:
        show(client.post(url, files=[("file", one), ("file", other)]))

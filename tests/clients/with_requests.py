"""requests."""

import base64
import sys
from pathlib import Path

import requests

url, three, five = sys.argv[1] + "/predict", Path(sys.argv[2]), Path(sys.argv[3])


def show(answer: requests.Response) -> None:
    """Print the labels."""
    answer.raise_for_status()
    print(*(prediction["label"] for prediction in answer.json()["predictions"]))


with three.open("rb") as image:
    show(requests.post(url, files={"file": image}))
show(requests.post(url, data=three.read_bytes()))
show(requests.post(url, json={"image": base64.b64encode(three.read_bytes()).decode()}))
with three.open("rb") as one, five.open("rb") as other:
    show(requests.post(url, files=[("file", one), ("file", other)]))

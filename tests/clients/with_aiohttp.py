"""aiohttp."""

import asyncio
import base64
import sys
from pathlib import Path
from typing import Any

import aiohttp

url, three, five = sys.argv[1] + "/predict", Path(sys.argv[2]), Path(sys.argv[3])
image, other = three.read_bytes(), five.read_bytes()


def form(*images: bytes) -> aiohttp.FormData:
    """Return a form of files."""
    fields = aiohttp.FormData()
    for each in images:
        fields.add_field("file", each, filename="digit.png")
    return fields


async def main() -> None:
    """Post each body."""
    async with aiohttp.ClientSession(raise_for_status=True) as session:

        async def show(**body: Any) -> None:
            async with session.post(url, **body) as answer:
                print(*(each["label"] for each in (await answer.json())["predictions"]))

        await show(data=form(image))
        await show(data=image)
        await show(json={"image": base64.b64encode(image).decode()})
        await show(data=form(image, other))


asyncio.run(main())

"""Draws how an image is read, each step as a picture: `python docs/examples/steps.py`.

Writes docs/steps.png from docs/examples/seven.jpg, with the service's own decoding and normalizing,
and the answer of the version that ships.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from digits import LocalReader  # noqa: E402 -- found from here

SIDE, GAP, TEXT = 220, 24, 44
INK, ACCENT, GROUND = "#1b1b1f", "#2149c8", "#f7f5f0"
STEPS = ("1. what was sent", "2. ink found and cut out", "3. what the model sees", "4. the answer")


def bars(probabilities: tuple[float, ...]) -> Image.Image:
    """Return ten bars with their digits, [SIDE, SIDE]."""
    panel = Image.new("RGB", (SIDE, SIDE), "white")
    pen, width = ImageDraw.Draw(panel), SIDE / 10
    best = int(np.argmax(probabilities))
    for digit, share in enumerate(probabilities):
        left, top = digit * width + 3, (SIDE - 24) * (1 - share) + 4
        color = ACCENT if digit == best else "#b9b6ae"
        pen.rectangle((left, min(top, SIDE - 22), left + width - 6, SIDE - 20), fill=color)
        pen.text((left + width / 2 - 3, SIDE - 10), str(digit), INK, FONT, anchor="mm")
    return panel


FONT = ImageFont.load_default(15)


def main() -> None:
    """Draw docs/steps.png."""
    name = HERE / "seven.jpg"
    prediction = LocalReader().predict(name, include_seen=True)
    seen = prediction.seen
    if seen is None or seen.box is None:
        raise SystemExit("no ink was found")
    photo = Image.open(name).convert("RGB")
    marked = photo.convert("L").convert("RGB")
    ImageDraw.Draw(marked).rectangle(seen.box, outline=ACCENT, width=8)
    pixels = Image.open(io.BytesIO(seen.image)).convert("RGB")
    small = pixels.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    panels = [photo, marked, small, bars(prediction.probabilities)]
    sheet = Image.new("RGB", (4 * SIDE + 5 * GAP, SIDE + TEXT + GAP), GROUND)
    pen = ImageDraw.Draw(sheet)
    for place, (panel, step) in enumerate(zip(panels, STEPS, strict=True)):
        panel.thumbnail((SIDE, SIDE))
        left = GAP + place * (SIDE + GAP)
        sheet.paste(panel, (left + (SIDE - panel.width) // 2, GAP))
        pen.text((left + SIDE / 2, GAP + SIDE + TEXT / 2), step, INK, FONT, anchor="mm")
    sheet.save(ROOT / "docs" / "steps.png", optimize=True)


if __name__ == "__main__":
    main()

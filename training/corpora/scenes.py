"""Scenes: photos, scans, forms and canvas drawings, made from the digits of a data set.

`render(digit, kind, rng)` writes a digit with a pen on a ground, photographs it and returns an
image file, so that decoding and normalizing are part of training and evaluation. `KINDS` is the
table of kinds; a `Look` has the ranges of a kind's parameters.

    python -m training.corpora.scenes --data mnist.npz --count 100000 --seed 1 --out pool.npz

writes a pool: the scenes normalized, `digits` uint8 [n,28,28], with `labels`, `kinds` (index into
`kind_names`) and `sources` (index of the digit in its array).
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.vision.decode import decode
from app.vision.grayscale import GrayImage
from app.vision.normalize import normalize
from training.corpora import Rng

Plane = NDArray[np.floating[Any]]
Range = tuple[float, float]

WORK = 64
"""Pixels of a digit's longer side while its strokes are worked out."""
MARGIN = 24
"""Pixels around it, so that thick pens have room."""
REACH = 32.0
"""Distance given to everything farther from a stroke than the margin."""


@dataclass(frozen=True, slots=True)
class Look:
    """The parameters of a kind of scene. Ranges are drawn from evenly; shares are of 1."""

    side: Range = (80, 240)
    """Pixels of the frame's shorter side."""
    aspect: Range = (0.75, 1.33)
    fill: Range = (0.4, 0.8)
    """The digit's longer side as a share of the frame's shorter one."""
    off_centre: float = 0.5
    """The digit's distance from the middle, as a share of the room around it."""
    pen: Range | None = None
    """Stroke width as a share of the digit's longer side; None: the writer's own, a bit varied."""
    tilt: float = 10.0
    """Degrees, to either side."""
    perspective: float = 0.0
    """Distance that the corners move, as a share of the side."""
    paper: Range = (0.8, 1.0)
    ink: Range = (0.05, 0.4)
    """Reflectance of ground and ink; chalk is brighter than its board."""
    tint: float = 0.0
    """Difference of the channels' levels."""
    grain: float = 0.0
    """Share of the stroke that the paper's texture keeps free."""
    gaps: float = 0.0
    """Share of a stroke's length that a dry pen leaves out."""
    lines: str = ""
    neighbours: float = 0.0
    """Chance of other writing at the frame's edge."""
    texture: float = 0.0
    specks: float = 0.0
    """Mean number of specks of dust."""
    gradient: float = 0.0
    """Darkening of the darkest corner, as a share."""
    shadow: float = 0.0
    """Chance of a shadow's edge across the picture."""
    vignette: float = 0.0
    blur: Range = (0.0, 0.0)
    """Sigma as a share of the digit's longer side."""
    noise: float = 0.0
    """Largest sigma, in levels of 255."""
    file: str = "jpeg"


def uniform(rng: Rng, bounds: Range) -> float:
    """Draw a number evenly from `bounds`."""
    return float(rng.uniform(*bounds))


# ----------------------------------------------------------------------------- strokes


def stroke_distance(digit: GrayImage, rng: Rng, *, pen: bool) -> Plane:
    """Return the signed distance to the edge of the ink; positive is inside.

    The field is [WORK+2·MARGIN]², the digit's longer side `WORK` pixels.

    Args:
        digit: [h,w], white ink on black.
        rng: The generator.
        pen: Return the negated distance to the middle of the stroke instead.
    """
    ink = digit[box_of(digit > 24)]
    height, width = ink.shape
    scale = WORK / max(height, width)
    size = max(4, round(width * scale)), max(4, round(height * scale))
    large = cv2.resize(ink.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    top, left = MARGIN + (WORK - size[1]) // 2, MARGIN + (WORK - size[0]) // 2
    side = WORK + 2 * MARGIN
    field = np.zeros((side, side), np.float32)
    field[top : top + size[1], left : left + size[0]] = large
    smooth = cv2.GaussianBlur(field, (0, 0), 0.3 * scale)
    solid = (smooth > uniform(rng, (0.35, 0.5)) * smooth.max()).astype(np.uint8)
    if pen:
        outside = cv2.distanceTransform(1 - thin(solid), cv2.DIST_L2, 5)
        return np.asarray(-cv2.GaussianBlur(outside, (0, 0), 1.0) + 0.6, np.float32)
    inside = cv2.distanceTransform(solid, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5)
    return np.asarray(cv2.GaussianBlur(inside - outside, (0, 0), 1.0), np.float32)


def thin(solid: GrayImage) -> GrayImage:
    """Return the skeleton of `solid` [h,w], 0 and 1, its border empty (Zhang and Suen 1984)."""
    image = solid.copy()
    inner = image[1:-1, 1:-1]
    height, width = image.shape
    ring = [image[1 + y : height - 1 + y, 1 + x : width - 1 + x] for y, x in RING]
    while True:
        changed = False
        for removable in REMOVABLE:
            code = np.zeros_like(inner)
            for bit, neighbour in enumerate(ring):
                code |= neighbour << bit
            gone = removable[code] & (inner == 1)
            changed |= bool(gone.any())
            inner[gone] = 0
        if not changed:
            return image


RING = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def removable(kept: tuple[tuple[int, ...], tuple[int, ...]]) -> NDArray[np.bool_]:
    """Tell for each of 256 neighbourhoods whether this half of a pass removes its middle."""
    around = (np.arange(256)[:, None] >> np.arange(8)) & 1
    count = around.sum(axis=1)
    rises = ((around == 0) & (np.roll(around, -1, axis=1) == 1)).sum(axis=1)
    edge = (around[:, kept[0]].min(axis=1) == 0) & (around[:, kept[1]].min(axis=1) == 0)
    return np.asarray((count >= 2) & (count <= 6) & (rises == 1) & edge)


NORTH, EAST, SOUTH, WEST = 0, 2, 4, 6
REMOVABLE = (
    removable(((NORTH, EAST, SOUTH), (EAST, SOUTH, WEST))),
    removable(((NORTH, EAST, WEST), (NORTH, SOUTH, WEST))),
)


def box_of(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns that hold all of `mask` [h,w]."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return slice(top, top + max(height, 1)), slice(left, left + max(width, 1))


def placed(
    distance: Plane, shape: tuple[int, int], longer: float, centre: Range, turn: Range
) -> Plane:
    """Turn `distance` by degrees, slant it by a share, and scale it into a frame of `shape`."""
    scale = longer / WORK
    angle, slant = np.deg2rad(turn[0]), turn[1]
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    linear = scale * rotation @ np.array([[1, slant], [0, 1]])
    middle = np.full(2, WORK / 2 + MARGIN)
    matrix = np.column_stack([linear, np.array(centre) - linear @ middle])
    warped = cv2.warpAffine(distance, matrix, shape[::-1], borderValue=(-REACH,))
    return np.asarray(warped * np.float32(scale), np.float32)


def waves(rng: Rng, shape: tuple[int, int], cells: float) -> Plane:
    """Draw smooth noise, about -1 to 1, with `cells` bumps along each side."""
    grid = rng.standard_normal((int(cells) + 2, int(cells) + 2), dtype=np.float32) * 0.5
    size = max(2, shape[1] // 4), max(2, shape[0] // 4)
    smooth = cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.resize(smooth, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def coverage(distance: Plane, width: Plane | float, softness: float) -> Plane:
    """Return in 0–1 how much of each pixel ink covers that reaches `width` beyond the edge."""
    return np.asarray(np.clip(0.5 + (distance + width) / softness, 0, 1), np.float32)


# ----------------------------------------------------------------------------- drawing


def written(
    digit: GrayImage, look: Look, rng: Rng, shape: tuple[int, int]
) -> tuple[Plane, Plane, float]:
    """Return coverage by ink and by printed lines, each [h,w] in 0–1, and the longer side."""
    height, width = shape
    longer = uniform(rng, look.fill) * min(shape)
    room = (1 - longer / np.array([width, height])) / 2 * look.off_centre
    centre = (0.5 + rng.uniform(-room, room)) * np.array([width, height])
    if look.off_centre > 1:  # against one side, a little over it
        centre = edge_centre(rng, shape, longer)
    own = look.pen is None
    distance = stroke_distance(digit, rng, pen=not own)
    turn = rng.uniform(-look.tilt, look.tilt), rng.normal(0, 0.08)
    warped = placed(distance, shape, longer, (centre[0], centre[1]), turn)
    if look.pen is None:
        pen = uniform(rng, (-0.012, 0.02)) * longer
    else:
        pen = max(0.5, uniform(rng, look.pen) * longer / 2)
    pressure = pen + 0.15 * abs(pen) * waves(rng, shape, 6)
    ink = coverage(warped, pressure, max(1.0, uniform(rng, (0.01, 0.04)) * longer))
    if look.gaps:
        keep = waves(rng, shape, 14 / look.fill[1]) > -1.2 + 1.2 * uniform(rng, (0, look.gaps))
        ink *= cv2.GaussianBlur(keep.astype(np.float32), (0, 0), max(0.6, longer / 80))
    if look.grain:
        tooth = cv2.GaussianBlur(
            rng.standard_normal(shape, dtype=np.float32), (0, 0), max(0.5, longer / 200)
        )
        depth = look.grain * rng.uniform(0.3, 1) / float(tooth.std())
        ink *= np.clip(0.8 + np.float32(depth) * tooth, 0, 1)
    if rng.random() < look.neighbours:
        np.maximum(ink, neighbours(distance, rng, shape, longer, centre, own=own), out=ink)
    lines = LINES[look.lines](rng, shape, longer, centre) if look.lines else np.zeros(0, np.float32)
    return ink, lines, longer


def edge_centre(rng: Rng, shape: tuple[int, int], longer: float) -> NDArray[np.float64]:
    """Return a place (x, y) against one side of the frame."""
    height, width = shape
    centre = rng.uniform(0.4, 0.6, 2) * [width, height]
    reach = longer * rng.uniform(0.44, 0.52)
    side = rng.integers(4)
    if side < 2:
        centre[1] = reach if side == 0 else height - reach
    else:
        centre[0] = reach * 0.8 if side == 2 else width - reach * 0.8
    return np.asarray(centre)


def neighbours(
    distance: Plane,
    rng: Rng,
    shape: tuple[int, int],
    longer: float,
    centre: NDArray[np.float64],
    *,
    own: bool,
) -> Plane:
    """Draw parts of one or two other signs at the frame's edge."""
    height, width = shape
    ink = np.zeros(shape, np.float32)
    for side in rng.permutation(4)[: rng.integers(1, 3)]:
        flipped = np.ascontiguousarray(distance[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])])
        out = longer * rng.uniform(0.36, 0.5)
        x, y = rng.uniform(0.2, 0.8, 2) * [width, height]
        if side < 2:
            x = -out * 0.6 if side == 0 else width + out * 0.6
            y = centre[1] + rng.uniform(-0.15, 0.15) * longer
        else:
            y = -out if side == 2 else height + out
        warped = placed(flipped, shape, longer, (x, y), (rng.uniform(-20, 20), 0))
        rows, columns = np.ogrid[:height, :width]
        beside = np.maximum(np.abs(columns - centre[0]), np.abs(rows - centre[1]))
        far = beside > 0.5 * longer + 2
        ink = np.maximum(ink, coverage(warped, 0.0 if own else longer * 0.03, 1.5) * far)
    return ink


def segment(plane: Plane, start: Range, end: Range, width: float) -> None:
    """Draw a line of fractional width with soft ends into `plane`."""
    shift = 4
    points = [(round(x * 16), round(y * 16)) for x, y in (start, end)]
    layer = np.zeros(plane.shape, np.uint8)
    cv2.line(layer, points[0], points[1], 255, max(1, round(width)), cv2.LINE_AA, shift)
    np.maximum(plane, layer.astype(np.float32) * (min(1.0, width) / 255), out=plane)


def ruled(rng: Rng, shape: tuple[int, int], longer: float, centre: NDArray[np.float64]) -> Plane:
    """Draw ruled paper, sometimes with a margin line."""
    plane = np.zeros(shape, np.float32)
    gap = longer * rng.uniform(0.7, 1.6)
    width = max(0.6, longer * rng.uniform(0.008, 0.03))
    y = (centre[1] + longer * rng.uniform(0.3, 0.6)) % gap
    drop = rng.uniform(-0.03, 0.03) * shape[1]
    while y < shape[0] + abs(drop):
        segment(plane, (-5, y - drop), (shape[1] + 5, y + drop), width)
        y += gap
    if rng.random() < 0.2:  # the margin line
        x = centre[0] - longer * rng.uniform(0.5, 0.8)
        segment(plane, (x, -5), (x, shape[0] + 5), width)
    return plane * np.float32(rng.uniform(0.25, 0.9))


def squared(rng: Rng, shape: tuple[int, int], longer: float, centre: NDArray[np.float64]) -> Plane:
    """Draw squared paper."""
    plane = np.zeros(shape, np.float32)
    gap = longer * rng.uniform(0.35, 1.2)
    width = max(0.6, longer * rng.uniform(0.006, 0.022))
    for axis in (0, 1):
        at = rng.uniform(0, gap)
        while at < shape[1 - axis]:
            if axis == 0:
                segment(plane, (at, -5), (at, shape[0] + 5), width)
            else:
                segment(plane, (-5, at), (shape[1] + 5, at), width)
            at += gap
    return plane * np.float32(rng.uniform(0.2, 0.65))


def boxed(
    rng: Rng,
    shape: tuple[int, int],
    longer: float,
    centre: NDArray[np.float64],
    *,
    near: Range = (0.58, 0.8),
    drop: float = 0.0,
    over: float = 0.0,
) -> Plane:
    """Draw a form's box.

    Args:
        rng: The generator.
        shape: Height and width of the frame.
        longer: The digit's longer side.
        centre: The digit's middle (x, y).
        near: Half the box's height, in digits.
        drop: Chance that a side is missing.
        over: Chance that the lines reach the frame's edge, as in a table.
    """
    plane = np.zeros(shape, np.float32)
    width = max(1.0, longer * rng.uniform(0.012, 0.06))
    half = longer * rng.uniform(*near, 2)
    half[0] *= rng.uniform(0.75, 1.0)
    middle = centre + rng.uniform(-0.06, 0.06, 2) * longer
    left, top = middle - half
    right, bottom = middle + half
    far = float(max(shape)) if rng.random() < over else 0.0
    sides = [
        ((left - far, top), (right + far, top)),
        ((right, top - far), (right, bottom + far)),
        ((left - far, bottom), (right + far, bottom)),
        ((left, top - far), (left, bottom + far)),
    ]
    keep = rng.random(4) >= drop
    keep[rng.integers(4)] = True
    for (start, end), kept in zip(sides, keep, strict=True):
        if kept:
            segment(plane, start, end, width)
    return plane * np.float32(rng.uniform(0.5, 1.0))


LINES: dict[str, Callable[[Rng, tuple[int, int], float, NDArray[np.float64]], Plane]] = {
    "ruled": ruled,
    "squared": squared,
    "box": boxed,
    "partial": lambda *a: boxed(*a, drop=0.45),
    "touching": lambda *a: boxed(*a, near=(0.46, 0.56), drop=0.1),
    "cell": lambda *a: boxed(*a, near=(0.52, 0.75), over=1.0),
}


# ----------------------------------------------------------------------- photographing


def picture(digit: GrayImage, look: Look, rng: Rng) -> GrayImage:
    """Return the scene in gray [h,w]."""
    side = uniform(rng, look.side)
    aspect = uniform(rng, look.aspect)
    shape = (
        (round(side), round(side * aspect)) if aspect > 1 else (round(side / aspect), round(side))
    )
    return photographed(*written(digit, look, rng, shape), look, rng)


def photographed(ink: Plane, lines: Plane, longer: float, look: Look, rng: Rng) -> GrayImage:
    """Return the scene in gray [h,w] of what `written` gives."""
    shape = ink.shape[0], ink.shape[1]
    paper, dye = uniform(rng, look.paper), uniform(rng, look.ink)
    scene = np.full(shape, paper, np.float32)
    if look.texture:
        fibre = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 1.2)
        scene += look.texture * rng.uniform(0.2, 1) * (0.5 * fibre + 0.3 * waves(rng, shape, 9))
    if lines.size:
        print_ = dye if rng.random() < 0.5 else uniform(rng, look.ink)
        scene += lines * (print_ - paper)
    scene += ink * (dye - scene)
    if look.specks:
        scene = specked(scene, look, rng, longer)
    if look.perspective:
        scene = tilted(scene, look.perspective, rng)
    scene = lit(scene, look, rng)
    sigma = uniform(rng, look.blur) * longer
    if sigma > 0.3:
        scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), sigma), np.float32)
    scene *= 255
    if look.noise:
        noise = rng.standard_normal(shape, dtype=np.float32)
        if rng.random() < 0.5:  # a phone's own denoising leaves blotches
            noise = np.asarray(cv2.blur(noise, (3, 3)) * 2, np.float32)
        scene += noise * np.float32(rng.uniform(0, look.noise))
    return np.asarray(np.clip(np.rint(scene), 0, 255).astype(np.uint8))


def specked(scene: Plane, look: Look, rng: Rng, longer: float) -> Plane:
    """Draw specks of dust onto the scene."""
    for _ in range(rng.poisson(look.specks)):
        x, y = rng.uniform(0, 1, 2) * scene.shape[::-1]
        radius = max(0.6, longer * rng.uniform(0.004, 0.02))
        level = float(rng.choice([uniform(rng, look.ink), uniform(rng, look.ink), 1.0]))
        at, size = (round(x * 16), round(y * 16)), round(radius * 16)
        cv2.circle(scene, at, size, level, -1, cv2.LINE_8, 4)
    return scene


def tilted(scene: Plane, amount: float, rng: Rng) -> Plane:
    """Move the scene's corners, as a tilted camera would."""
    height, width = scene.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + rng.uniform(-amount, amount, (4, 2)).astype(np.float32) * min(scene.shape)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    warped = cv2.warpPerspective(
        scene, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, np.float32)


def lit(scene: Plane, look: Look, rng: Rng) -> Plane:
    """Light the scene by a lamp to one side, with a shadow, through a cheap lens."""
    height, width = scene.shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    light: Plane = np.ones((1, 1), np.float32)
    if look.gradient:
        turn = rng.uniform(0, 2 * np.pi)
        ramp = (np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y) / 1.42
        light = light - np.float32(look.gradient * rng.uniform(0, 1)) * (ramp + 1) / 2
    if rng.random() < look.shadow:
        turn, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.7, 0.7)
        edge = np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y - np.float32(offset)
        edge = edge + np.float32(rng.uniform(0, 0.3)) * waves(rng, scene.shape, 2)
        dark = np.clip(0.5 + edge / np.float32(rng.uniform(0.03, 0.5)), 0, 1)
        light = light * (1 - np.float32(rng.uniform(0.25, 0.6)) * dark)
    if look.vignette:
        light = light * (1 - np.float32(look.vignette * rng.uniform(0.2, 1)) * (x * x + y * y) / 2)
    return np.asarray(scene * light, np.float32)


# ---------------------------------------------------------------------------- encoding


def tinted(gray: GrayImage, amount: float, rng: Rng) -> GrayImage:
    """Return a tinted picture [h,w,3] in OpenCV's order: blue, green, red."""
    shares = 1 - np.sort(rng.uniform(0, amount, 3))[::-1] * (rng.random() < 0.8)
    tables = np.rint(np.arange(256)[:, None] * shares).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(cv2.merge([gray] * 3), tables[None]), np.uint8)


def jpeg(gray: GrayImage, look: Look, rng: Rng) -> bytes:
    """Encode as JPEG."""
    quality = int(rng.integers(30, 96))
    pixels = tinted(gray, look.tint, rng) if look.tint else gray
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def png(gray: GrayImage, look: Look, rng: Rng) -> bytes:
    """Encode as PNG."""
    pixels = tinted(gray, look.tint, rng) if look.tint else gray
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def transparent(gray: GrayImage, look: Look, rng: Rng, *, level: int | None = None) -> bytes:
    """Encode as a PNG of one colour of ink on transparency, whose hidden colour varies."""
    ink = [level] * 3 if level is not None else rng.integers(0, 256, 3).tolist()
    rgba = np.empty((*gray.shape, 4), np.uint8)
    rgba[..., :3] = ink
    rgba[..., 3] = 255 - gray
    hidden = int(rng.choice([0, 255]))
    rgba[gray == 255] = (hidden, hidden, hidden, 0)
    return cv2.imencode(".png", rgba, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def coloured(gray: GrayImage, look: Look, rng: Rng) -> bytes:
    """Encode as a PNG of ink of one colour on a ground of a distinct one."""
    while True:
        ground, ink = rng.integers(0, 256, (2, 3))
        if rng.random() < 0.5:
            ground = np.array([255, 255, 255])
        if np.abs(ground - ink).sum() > 200 and np.abs(ground - ink).max() > 110:
            break
    share = (gray.astype(np.float32) / 255)[..., None]
    pixels = np.rint(share * ground + (1 - share) * ink).astype(np.uint8)
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def saved(image: Image.Image, file: str = "PNG", **options: Any) -> bytes:
    """Encode with Pillow."""
    out = io.BytesIO()
    image.save(out, file, **options)
    return out.getvalue()


def one_bit(gray: GrayImage, look: Look, rng: Rng) -> bytes:
    """Encode as a PNG of black and white."""
    image = Image.fromarray(gray).point(lambda level: 255 * (level > 127))
    return saved(image.convert("1") if rng.random() < 0.7 else image)


def sixteen_bit(gray: GrayImage, look: Look, rng: Rng) -> bytes:
    """Encode as a PNG of 16 bits."""
    deep = gray.astype(np.uint16) * rng.choice(np.array([16, 255, 257], np.uint16))
    return cv2.imencode(".png", deep)[1].tobytes()


def palette(gray: GrayImage, look: Look, rng: Rng) -> bytes:
    """Encode as a PNG with a palette."""
    return saved(Image.fromarray(gray).convert("RGB").quantize(int(rng.integers(2, 32))))


def gray_alpha(gray: GrayImage, look: Look, rng: Rng) -> bytes:
    """Encode as a PNG of gray and alpha."""
    opaque = Image.new("L", gray.shape[::-1], 255)
    return saved(Image.merge("LA", [Image.fromarray(gray), opaque]))


def cmyk(gray: GrayImage, look: Look, rng: Rng) -> bytes:
    """Encode as a JPEG in CMYK."""
    quality = int(rng.integers(50, 96))
    return saved(Image.fromarray(gray).convert("CMYK"), "JPEG", quality=quality)


def webp(gray: GrayImage, look: Look, rng: Rng) -> bytes:
    """Encode as WebP."""
    image = Image.fromarray(gray).convert("RGB")
    return saved(image, "WEBP", quality=int(rng.integers(40, 96)), method=0)


def gif(gray: GrayImage, look: Look, rng: Rng) -> bytes:
    """Encode as GIF."""
    return saved(Image.fromarray(gray), "GIF")


def bmp(gray: GrayImage, look: Look, rng: Rng) -> bytes:
    """Encode as BMP."""
    return saved(Image.fromarray(gray), "BMP")


def odd_mode(gray: GrayImage, look: Look, rng: Rng) -> bytes:
    """Encode in one of the rare modes and formats."""
    odd = (one_bit, sixteen_bit, palette, gray_alpha, cmyk, webp, gif, bmp)
    return odd[rng.integers(len(odd))](gray, look, rng)


def turned(gray: GrayImage, look: Look, rng: Rng) -> bytes:
    """Encode as a JPEG whose EXIF orientation undoes its rotation."""
    orientation = int(rng.integers(1, 9))
    image = Image.fromarray(gray)
    stored = image if orientation == 1 else image.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(stored, "JPEG", quality=int(rng.integers(50, 96)), exif=exif)


STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

FILES: dict[str, Callable[[GrayImage, Look, Rng], bytes]] = {
    "jpeg": jpeg,
    "png": png,
    "transparent black": lambda g, k, r: transparent(g, k, r, level=0),
    "transparent white": lambda g, k, r: transparent(g, k, r, level=255),
    "transparent colour": transparent,
    "negative": lambda g, k, r: png(255 - g, k, r),
    "coloured": coloured,
    "odd": odd_mode,
    "turned": turned,
}

PHOTO = Look(
    pen=(0.05, 0.13),
    tilt=12,
    perspective=0.06,
    paper=(0.65, 0.98),
    ink=(0.05, 0.35),
    tint=0.2,
    texture=0.03,
    gradient=0.5,
    shadow=0.3,
    blur=(0.0, 0.025),
    noise=10,
)
SCAN = Look(paper=(0.9, 1.0), ink=(0.0, 0.25), tilt=6, blur=(0, 0.015), noise=3, specks=1)
CANVAS = Look(
    pen=(0.05, 0.16), paper=(1.0, 1.0), ink=(0.0, 0.0), tilt=5, file="png", side=(140, 300),
    aspect=(1.0, 1.0), off_centre=0.8, fill=(0.35, 0.9),
)  # fmt: skip

LOOKS: dict[str, Look] = {
    "photo": PHOTO,
    "photo own stroke": replace(PHOTO, pen=None),
    "photo shadow": replace(PHOTO, shadow=1.0, gradient=0.7, vignette=0.5),
    "pencil": replace(PHOTO, pen=(0.03, 0.08), ink=(0.35, 0.65), grain=0.35, shadow=0.15),
    "ball-pen": replace(PHOTO, pen=(0.025, 0.06), ink=(0.1, 0.4), gaps=0.3),
    "marker": replace(PHOTO, pen=(0.12, 0.22), ink=(0.02, 0.3)),
    "chalk": replace(
        PHOTO, pen=(0.05, 0.12), paper=(0.08, 0.35), ink=(0.65, 1.0), grain=0.4, texture=0.06
    ),
    "dry pen": replace(SCAN, pen=(0.04, 0.1), gaps=0.8, grain=0.3),
    "faint": replace(PHOTO, pen=None, paper=(0.6, 0.9), ink=(0.45, 0.5), shadow=0, gradient=0.2),
    "dark paper": replace(PHOTO, pen=(0.05, 0.13), paper=(0.05, 0.3), ink=(0.7, 0.95)),
    "ruled": replace(PHOTO, lines="ruled", fill=(0.35, 0.7)),
    "squared": replace(PHOTO, lines="squared", fill=(0.35, 0.7)),
    "form box": replace(SCAN, lines="box", pen=(0.05, 0.12), fill=(0.4, 0.75)),
    "form box photo": replace(PHOTO, lines="box", fill=(0.35, 0.65)),
    "partial box": replace(SCAN, lines="partial", pen=(0.05, 0.12), fill=(0.5, 0.85)),
    "touching box": replace(SCAN, lines="touching", pen=(0.05, 0.12), fill=(0.5, 0.85)),
    "table cell": replace(SCAN, lines="cell", pen=None, fill=(0.5, 0.8)),
    "canvas transparent": replace(CANVAS, file="transparent black"),
    "canvas transparent white": replace(CANVAS, file="transparent white"),
    "canvas transparent colour": replace(CANVAS, file="transparent colour"),
    "canvas black": replace(CANVAS, file="negative"),
    "canvas white": replace(CANVAS, file="png"),
    "canvas colour": replace(CANVAS, file="coloured"),
    "thumbnail": replace(SCAN, side=(16, 40), fill=(0.75, 0.97), pen=None, noise=6, tilt=8),
    "odd mode": replace(SCAN, noise=0, texture=0.0, file="odd"),
    "exif turned": replace(PHOTO, file="turned", tint=0),
    "edge": replace(PHOTO, off_centre=2, perspective=0, fill=(0.5, 0.9)),
    "neighbours": replace(SCAN, neighbours=1.0, fill=(0.5, 0.8), pen=(0.05, 0.13)),
    "thick": replace(SCAN, pen=(0.2, 0.3), paper=(0.85, 1.0)),
    "hairline": replace(SCAN, pen=(0.008, 0.025), side=(140, 320), ink=(0.0, 0.4)),
    "small in frame": replace(
        PHOTO, fill=(0.08, 0.2), off_centre=0.9, side=(200, 420), blur=(0, 0.01)
    ),
    "dusty": replace(SCAN, specks=14, texture=0.05, noise=8),
}


def _rendered(look: Look) -> Callable[[GrayImage, Rng], bytes]:
    return lambda digit, rng: FILES[look.file](picture(digit, look, rng), look, rng)


def scanned(digit: GrayImage, rng: Rng) -> bytes:
    """Enlarge the data set's own pixels, dark on a white page, and encode them as PNG."""
    factor = int(rng.integers(2, 16))
    kind = int(rng.choice([cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    large = cv2.resize(digit, None, fx=factor, fy=factor, interpolation=kind)
    pad = int(rng.choice([0, 0, large.shape[0] // 8, large.shape[0] // 2]))
    page = cv2.copyMakeBorder(large, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
    return png(255 - np.asarray(page, np.uint8), SCAN, rng)


KINDS: dict[str, Callable[[GrayImage, Rng], bytes]] = {
    name: _rendered(look) for name, look in LOOKS.items()
} | {"scan": scanned}


def render(digit: GrayImage, kind: str, rng: Rng) -> bytes:
    """Return an image file of the named kind that shows `digit` [h,w], white ink on black."""
    return KINDS[kind](digit, rng)


def pool(digits: GrayImage, labels: GrayImage, *, count: int, seed: int, first: int = 0) -> Pool:
    """Make a pool of scenes, with kinds in turn and digits at random.

    Each scene has a seed of its own, so that parts of a pool may be made apart.

    Args:
        digits: [n,h,w], white ink on black.
        labels: [n].
        count: Scenes to make.
        seed: Seed of the pool.
        first: Index of the first of `digits` in its array, for `Pool.sources`.
    """
    names = list(KINDS)
    normalized = np.empty((count, 28, 28), np.uint8)
    kinds = (np.arange(count) % len(names)).astype(np.uint8)
    sources = np.empty(count, np.int32)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        source = int(rng.integers(len(digits)))
        file = render(digits[source], names[kinds[i]], rng)
        normalized[i] = normalize(decode(file).gray).digit
        sources[i] = first + source
    return Pool(normalized, labels[sources - first], kinds, sources, np.array(names))


@dataclass(frozen=True, slots=True)
class Pool:
    """Scenes, normalized.

    Attributes:
        digits: uint8 [n,28,28].
        labels: [n].
        kinds: [n], index into `kind_names`.
        sources: [n], index of the digit in its array.
        kind_names: The names of all kinds.
    """

    digits: GrayImage
    labels: GrayImage
    kinds: GrayImage
    sources: NDArray[np.int32]
    kind_names: NDArray[np.str_]


SPLITS = {"train": slice(0, 55_000), "report": slice(55_000, 60_000), "usps": slice(None)}


def source(path: Path, split: str) -> tuple[GrayImage, GrayImage]:
    """Read the digits [n,h,w] and labels [n] of one of `SPLITS`."""
    x, y = ("x", "y") if split == "usps" else ("x_train", "y_train")
    with np.load(path) as data:
        return data[x][SPLITS[split]], data[y][SPLITS[split]]


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.corpora.scenes", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz, or USPS digits: x, y")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    digits, labels = source(args.data, args.split)
    first = SPLITS[args.split].start or 0
    made = pool(digits, labels, count=args.count, seed=args.seed, first=first)
    np.savez_compressed(args.out, **asdict(made))
    print(f"{args.out}: {len(made.digits)} scenes of {len(KINDS)} kinds")


if __name__ == "__main__":
    main()

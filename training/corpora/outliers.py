"""Outliers: images that are no digits, made by code, from which the model learns to reject.

They are letters and signs of many scripts, printed and written, letters that nobody has, shapes
filled and drawn, dots, bars, scribbles, parts and pairs of digits, pieces of print, and textures.
Letters come from the fonts that matplotlib ships, from handwriting fonts where `--fonts` names
their folder, and from skeletons in `WRITTEN`, drawn with a pen and bent as hands bend them; those
that can't be told from digits (o, l, z, s, …) are left out. Some fonts, scripts, letters and kinds
are held back: they are evaluated on and never trained on.

    python -m training.corpora.outliers --data mnist.npz --count 60000 --seed 1 --out o.npz
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.vision.grayscale import GrayImage
from app.vision.normalize import normalize
from training.corpora import Rng, canvases
from training.corpora.scenes import (
    MARGIN,
    REACH,
    SPLITS,
    WORK,
    Plane,
    box_of,
    coverage,
    placed,
    source,
    stroke_distance,
    waves,
)

CANVAS = 96
"""Pixels of the side of the picture that a sign is drawn on, before it is normalized."""

LETTERS = "ACEFHJKLMNPQRTUVWXYacdefhjkmnprtuvwxγεηλμνπρχψωΓΔΛΞΠΣΨΩЖИЛФЦШЮЯ"
SIGNS = "&%@#?*+=~<>€£§¶±√∞∑∫≈≠→↑✓★♥♦"
HELD_BACK_LETTERS = "KRhvψЖФ"
HANDWRITTEN_LETTERS = "ACEFGHJKLMNPQRTUVWXYacdefhjkmnprtuvwx"
"""Letters to take from handwriting fonts: those that few hands write as a digit. b, B, D, g, i, I,
l, o, O, q, s, S, y, z and Z are digits in many."""
STROKE_SPREAD = 1.6
"""Pixels of 28 by which a stroke's ink lies off its axis, as a standard deviation: that of a bar of
five and a half."""
FAINT = 60
"""Level, of 255, below which ink joins no two pieces."""
CARRIED = 0.5
"""Share of the outliers to learn from that come as digits do (`training.corpora.canvases`). Where
only digits are drawn on small canvases or photographed, a letter there is taken for one."""
SCRIPTS = {
    "Armenian": (0x531, 0x586),
    "Hebrew": (0x5D0, 0x5EA),
    "Arabic": (0x621, 0x64A),
    "Tifinagh": (0x2D30, 0x2D65),
    "Canadian": (0x1401, 0x1676),
    "Cyrillic": (0x410, 0x44F),
    "Lao": (0xE81, 0xEAE),
    "mathematics": (0x2200, 0x22FF),
    "arrows": (0x2190, 0x21FF),
    "shapes": (0x25A0, 0x25FF),
}
HELD_BACK_SCRIPTS = {"Georgian": (0x10D0, 0x10F0), "N'Ko": (0x7CA, 0x7EA), "Lisu": (0xA4D0, 0xA4F7)}
"""First and last letter of scripts that `SCRIPT_FONT`, which matplotlib ships, has: the same
everywhere, unlike what a system has installed."""
SCRIPT_FONT = "DejaVuSans"
LOOK_ALIKES = (
    "ԳԴԶԾԿՀՁՂՅՉՎՏՕզլկձշվցօבגדוטיךלןסףפקרأإاةحطظهوىيⴰⴵⵀⵏⵑⵓⵔⵖⵙⵚⵛⵢᐍᐟᐠᐤᑀᑊᑞᑠᑫᑲᑳᑴᑵᑾᑿᒀᒁᒂᒃᒅᒉᒒ"
    "ᒓᒜᒝᒣᒬᒭᒮᒺᓀᓁᓉᓓᓔᓝᓭᓱᓲᓳᓷᓸᓺᓼᓽᓾᔁᔆᔐᔑᔒᔗᔘᔙᔚᔛᔜᔦᔭᔮᔯᔰᔺᔼᔾᕂᕃᕊᕋᕐᕒᕞᕟᕥᕴᕵᕶᕷᕺᖊᖋᖍᖎᖔᖕᖤᖥᖦᖬᖮᖯᗞᗡᙆᙰБВЗОЧЪЬ"
    "Эбвзоцчъьэຂຊຍຣລວອຮ∂∕∖∘∣∦≀⊘⊙⊰⋄↥↰↴↺↻↾⇂⇙▮◉◊○◌◐◑◒◓◔◕◖◗◘◙◞◦◧◨◯◴◵◷აგვზკპჟრტუფხჰჳჴჵߊߋߒߔ"
    "ߕߝߞߣߤꓐꓓꓜꓢꓱꓲꓳꓶ"
)
"""Letters of those scripts that version 4 takes for a digit at least as often as not. Most could be
one in somebody's hand: Hebrew's ר a 7, Armenian's Տ a 5, Georgian's ვ a 3."""
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Italic",
    "cmr10",
    "cmss10",
    "cmmi10",
    "cmb10",
)
HELD_BACK_FONTS = ("STIXGeneral", "STIXGeneralItalic", "cmtt10", "DejaVuSerif-Bold")

# Strokes as people write them: points x,y from the upper left of a unit square; curves run smoothly
# through the points, and a point that is given twice is a corner.
WRITTEN = {
    "A": ("0,1 .5,0 .5,0 1,1", ".2,.65 .85,.62"),
    "C": ("1,.2 .7,0 .3,.05 0,.4 .05,.75 .4,1 .95,.85",),
    "E": ("1,0 0,0 0,0 0,1 0,1 1,1", "0,.5 .8,.5"),
    "E round": ("1,.1 .5,0 .1,.2 .2,.42 .6,.48 .6,.48 .1,.55 0,.8 .4,1 1,.9",),
    "F": ("1,0 0,0 0,0 0,1", "0,.45 .75,.45"),
    "H": ("0,0 0,1", "1,0 1,1", "0,.5 1,.5"),
    "J": (".3,0 1,0", ".7,0 .7,.7 .5,1 .15,.95 0,.75"),
    "K": ("0,0 0,1", "1,0 .1,.55 .1,.55 1,1"),
    "L": ("0,0 0,1 0,1 .9,1",),
    "M": ("0,1 .1,0 .1,0 .5,.7 .5,.7 .9,0 .9,0 1,1",),
    "N": ("0,1 0,0 0,0 1,1 1,1 1,0",),
    "P": ("0,1 0,0 0,0 .7,.02 1,.25 .7,.5 0,.52",),
    "R": ("0,1 0,0 0,0 .7,.02 1,.25 .7,.48 0,.5 .3,.5 .3,.5 1,1",),
    "T": ("0,0 1,0", ".5,0 .5,1"),
    "U": ("0,0 0,.6 .2,.95 .6,1 .95,.8 1,0", "1,0 1,1"),
    "V": ("0,0 .5,1 .5,1 1,0",),
    "W": ("0,0 .25,1 .25,1 .5,.3 .5,.3 .75,1 .75,1 1,0",),
    "X": ("0,0 1,1", "1,0 0,1"),
    "Y": ("0,0 .5,.5", "1,0 .5,.5 .5,.5 .4,1"),
    "a": ("1,.2 .6,0 .15,.2 0,.6 .3,1 .7,.85 1,.2 1,.2 .95,.8 1.15,1",),
    "a two": (".1,.15 .5,0 .85,.2 .85,.6 .9,1", ".85,.45 .3,.5 .05,.8 .4,1 .85,.75"),
    "c": ("1,.25 .6,0 .1,.3 .05,.75 .5,1 1,.8",),
    "d": ("1,.55 .6,.4 .1,.55 .05,.85 .4,1 .95,.8", "1,0 .95,1"),
    "e": (".05,.5 .9,.45 .85,.1 .45,0 .1,.25 .05,.65 .4,1 1,.85",),
    "f": ("1,.12 .75,0 .5,.2 .45,1", ".1,.45 .9,.42"),
    "f long": ("1,.1 .7,0 .5,.25 .45,.85 .2,1 .05,.9", ".15,.48 .85,.45"),
    "h": ("0,0 0,1 0,1 .05,.65 .4,.45 .75,.55 .8,1",),
    "j": (".6,.3 .6,.8 .4,1 .05,.95", ".6,.05 .62,.09"),
    "k": ("0,0 0,1", ".75,.4 .1,.7 .1,.7 .85,1"),
    "m": ("0,.1 0,1 0,1 .05,.3 .25,.05 .45,.3 .45,1 .45,1 .5,.3 .75,.05 .95,.3 1,1",),
    "n": ("0,0 0,1 0,1 .1,.3 .5,0 .9,.25 1,1",),
    "p": ("0,0 0,1", "0,.15 .5,0 .95,.2 .8,.5 .4,.6 0,.45"),
    "r": ("0,0 0,1 0,1 .1,.4 .5,.05 1,.15",),
    "t": (".5,0 .45,.8 .65,1 1,.9", ".05,.3 .95,.28"),
    "t cross": (".5,0 .48,1", ".0,.35 1,.33"),
    "u": ("0,0 0,.6 .3,1 .8,.8 1,0 1,0 1,.9 1.15,1",),
    "v": ("0,0 .45,1 .45,1 .9,0 1.1,.05",),
    "w": ("0,0 .15,.8 .35,.95 .5,.3 .5,.3 .65,.95 .85,.8 1,0",),
    "w round": ("0,.1 .05,.8 .3,1 .5,.7 .5,.3 .5,.7 .7,1 .95,.8 1,0",),
    "x": ("0,0 .2,.05 .8,.95 1,1", "1,0 0,1"),
}
HELD_BACK_WRITTEN = {"K", "k", "R", "h", "v", "V", "E round", "a two", "t cross"}

WRITTEN_SIGNS = {
    "exclamation mark": (".5,0 .48,.66", ".47,.96 .5,.99"),
    "question mark": ("0,.22 .2,.02 .55,.03 .66,.27 .4,.48 .34,.68", ".33,.96 .36,.99"),
    "ampersand": (".9,1 .15,.28 .3,0 .55,.14 .12,.65 .2,.95 .55,.95 .9,.55",),
    "ampersand like E": (
        ".8,.15 .4,.02 .2,.25 .5,.45 .5,.45 .1,.6 .1,.85 .45,1 .85,.8",
        ".5,-.12 .48,1.1",
    ),
    "at": (
        ".68,.4 .5,.3 .32,.5 .45,.7 .64,.6 .7,.36 .72,.64 .9,.64 1,.4 .8,.08 .4,0 .05,.3 .05,.7 "
        ".35,1 .8,.95",
    ),
    "heart": (
        ".5,.34 .35,.14 .06,.17 0,.39 .2,.65 .5,.87 .5,.87 .8,.65 1,.39 .94,.17 .65,.14 .5,.34",
    ),
    "heart pointed": (
        ".5,.87 .05,.46 .08,.19 .35,.17 .5,.35 .5,.35 .65,.17 .92,.19 .95,.46 .5,.87",
    ),
    "opening brace": (".6,0 .35,.05 .36,.38 .1,.5 .1,.5 .36,.62 .35,.95 .6,1",),
    "opening bracket": (".45,0 0,0 0,0 0,1 0,1 .45,1",),
    "hash": (".32,0 .2,1", ".75,0 .62,1", "0,.34 .95,.3", "0,.7 .95,.66"),
    "per cent": (
        ".85,0 .1,1",
        ".2,.02 .03,.15 .2,.3 .36,.15 .2,.02",
        ".75,.7 .58,.85 .75,1 .92,.85 .75,.7",
    ),
    "dollar": (".8,.18 .45,.05 .1,.2 .2,.42 .65,.56 .8,.78 .45,.95 .02,.82", ".46,-.1 .42,1.1"),
    "euro": ("1,.1 .6,0 .25,.2 .15,.5 .25,.85 .6,1 1,.9", "0,.4 .75,.38", "0,.6 .7,.58"),
    "pound": (".9,.15 .65,0 .4,.15 .36,.5 .3,.9 0,1 0,1 .5,.93 .95,1", ".1,.52 .75,.5"),
    "asterisk": (".5,0 .5,1", ".05,.22 .95,.78", ".95,.22 .05,.78"),
    "star": (".2,1 .5,0 .5,0 .8,1 .8,1 0,.38 0,.38 1,.38 1,.38 .2,1",),
    "arrow to the right": ("0,.5 1,.5", ".65,.2 1,.5 1,.5 .65,.8"),
    "arrow to the left": ("0,.5 1,.5", ".35,.2 0,.5 0,.5 .35,.8"),
    "arrow up": (".5,1 .5,0", ".15,.35 .5,0 .5,0 .85,.35"),
    "arrow down": (".5,0 .5,1", ".15,.65 .5,1 .5,1 .85,.65"),
    "note": (".45,.85 .2,.8 .08,.93 .28,1 .45,.87 .45,.87 .45,0 .45,0 .8,.28",),
    "infinity": (".5,.5 .25,.2 .02,.5 .25,.8 .5,.5 .75,.2 .98,.5 .75,.8 .5,.5",),
    "face": (
        ".5,0 .12,.15 0,.5 .15,.86 .5,1 .86,.85 1,.5 .86,.14 .47,0",
        ".33,.33 .34,.38",
        ".66,.33 .67,.38",
        ".25,.62 .5,.8 .76,.6",
    ),
    "ticked box": ("0,0 1,0 1,0 1,1 1,1 0,1 0,1 0,0", ".2,.5 .42,.8 .42,.8 1.1,-.1"),
    "crossed box": ("0,0 1,0 1,0 1,1 1,1 0,1 0,1 0,0", ".1,.1 .9,.9", ".9,.1 .1,.9"),
    "divided by": ("0,.5 1,.5", ".5,.15 .51,.18", ".5,.82 .51,.85"),
    "square root": ("0,.6 .14,.5 .34,1 .34,1 .6,0 .6,0 1.3,0",),
    "pi": ("0,.12 .2,0 1,.02", ".3,.03 .25,1", ".7,.02 .7,.9 .9,.98"),
    "not equal": ("0,.35 1,.35", "0,.65 1,.65", ".8,0 .2,1"),
    "less than": ("1,0 0,.5 0,.5 1,1",),
    "colon": (".5,.2 .51,.24", ".5,.8 .51,.84"),
    "sun": (
        ".5,.28 .3,.36 .27,.5 .34,.68 .5,.73 .68,.66 .73,.5 .66,.33 .48,.28",
        ".5,0 .5,.16",
        ".5,.85 .5,1",
        "0,.5 .16,.5",
        ".85,.5 1,.5",
        ".14,.14 .25,.25",
        ".86,.86 .75,.75",
    ),
}
"""Signs as people write them, without those that are digits in many hands: ( ) | / ] } § > ~."""
HELD_BACK_SIGNS = {"arrow down", "note", "face", "not equal", "heart pointed"}


@cache
def font(name: str) -> ImageFont.FreeTypeFont:
    """Load one of matplotlib's fonts, or a font of its own path, at the size `WORK`."""
    shipped = Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(shipped if shipped.exists() else name), WORK)


@cache
def drawable(name: str, letters: str) -> str:
    """Return those of `letters` that the font has; it draws others as an empty box, or not."""
    missing = glyph(name, "\uffff")
    has = [c for c in letters if (g := glyph(name, c)).any() and not np.array_equal(g, missing)]
    return "".join(has)


@cache
def glyph(name: str, letter: str) -> GrayImage:
    """Draw a letter in white on black [h,w], cut to its ink."""
    image = Image.new("L", (2 * WORK, 2 * WORK))
    ImageDraw.Draw(image).text((WORK // 2, WORK // 4), letter, 255, font(name))
    pixels = np.asarray(image)
    left, top, width, height = cv2.boundingRect(pixels)
    return pixels[top : top + height, left : left + width]


def bent(distance: Plane, rng: Rng, amount: float = 2.5) -> Plane:
    """Bend a field of distances [h,w] as an unsteady hand would, by `amount` pixels of 96."""
    height, width = distance.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    reach = amount * max(height, width) / 96
    cells = float(rng.uniform(1.5, 4))
    x += reach * waves(rng, (height, width), cells)
    y += reach * waves(rng, (height, width), cells)
    return np.asarray(
        cv2.remap(distance, x, y, cv2.INTER_LINEAR, borderValue=(-REACH,)), np.float32
    )


def on_canvas(distance: Plane, rng: Rng, pen: float) -> Plane:
    """Turn, slant and stretch `distance` (see `stroke_distance`), and ink it `pen` wide."""
    longer = CANVAS * rng.uniform(0.6, 0.75)
    turn = rng.uniform(-12, 12), rng.normal(0, 0.15)
    warped = placed(distance, (CANVAS, CANVAS), longer, (CANVAS / 2, CANVAS / 2), turn)
    ink = 255 * coverage(bent(warped, rng), pen * longer, 2.0)
    stretch = rng.uniform(0.75, 1.3)
    size = max(8, round(CANVAS * min(1.0, stretch))), max(8, round(CANVAS * min(1.0, 1 / stretch)))
    return np.asarray(cv2.resize(ink, size, interpolation=cv2.INTER_AREA), np.float32)


def pen_width(rng: Rng) -> float:
    """Draw half a stroke's width as a share of a sign's longer side, like those of MNIST's pens."""
    return float(rng.uniform(0.03, 0.09))


def printed(letters: str, fonts: tuple[str, ...], rng: Rng) -> Plane:
    """Draw a letter of a font, as a stroke or as an outline."""
    name = fonts[rng.integers(len(fonts))]
    choice = drawable(name, letters)
    image = glyph(name, choice[rng.integers(len(choice))])
    if rng.random() < 0.7:
        distance = stroke_distance(image, rng, pen=True)
        if distance.max() > 0:  # thinning leaves nothing of the smallest signs
            return on_canvas(distance, rng, pen_width(rng))
    return on_canvas(stroke_distance(image, rng, pen=False), rng, rng.uniform(-0.01, 0.03))


def smooth(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a Catmull-Rom curve [m,2] through `points` [n,2]; doubled points stay corners."""
    padded = np.vstack([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, 8, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        first, second = (c - a) / 2, (d - b) / 2
        bend = 3 * (c - b) - 2 * first - second
        pieces.append(b + t * first + t**2 * bend + t**3 * (2 * (b - c) + first + second))
    return np.vstack([*pieces, points[-1:]])


def drawn(strokes: list[NDArray[np.float64]], rng: Rng, pen: float) -> Plane:
    """Draw `strokes`, each [n,2] in a unit square, on the canvas."""
    side = WORK + 2 * MARGIN
    away = np.ones((side, side), np.uint8)
    for stroke in strokes:
        points = np.rint((stroke * WORK + MARGIN) * 8).astype(np.int32)
        cv2.polylines(away, [points], False, 0, 1, cv2.LINE_8, 3)
    distance = -cv2.GaussianBlur(cv2.distanceTransform(away, cv2.DIST_L2, 5), (0, 0), 1.0) + 0.6
    return on_canvas(np.asarray(distance, np.float32), rng, pen)


def written(skeletons: dict[str, tuple[str, ...]], names: list[str], rng: Rng) -> Plane:
    """Draw one of the named `skeletons` with an unsteady pen."""
    wide = rng.uniform(0.55, 1.0)
    strokes = []
    for text in skeletons[names[rng.integers(len(names))]]:
        points = np.array([[float(v) for v in point.split(",")] for point in text.split()])
        moved = points + rng.normal(0, 0.035, (1, 2))
        jitter = rng.normal(0, 0.05, points.shape)
        same = np.r_[False, (np.diff(points, axis=0) == 0).all(axis=1)]
        jitter[same] = jitter[np.flatnonzero(same) - 1]
        strokes.append(smooth(moved + jitter) * [wide, 1.0])
    return drawn(strokes, rng, pen_width(rng))


@cache
def letters_of(*, held_back: bool) -> str:
    """Return the letters of all scripts to learn from, or of those held back."""
    ranges = (HELD_BACK_SCRIPTS if held_back else SCRIPTS).values()
    signs = [chr(code) for first, last in ranges for code in range(first, last + 1)]
    return "".join(sign for sign in signs if sign not in LOOK_ALIKES)


def invented(rng: Rng) -> Plane:
    """Draw a letter of no script: three or four strokes, straight or bent, that meet at places.

    A digit has three strokes in nobody's hand, or small ones.
    """
    places = rng.uniform(0, 1, (5, 2)) * [rng.uniform(0.5, 1.0), 1.0]
    strokes = []
    for _ in range(int(rng.integers(3, 5))):
        start, end = places[rng.choice(5, 2, replace=False)]
        across = np.array([start[1] - end[1], end[0] - start[0]])
        bow = rng.normal(0, 0.35) if rng.random() < 0.6 else 0.0
        strokes.append(smooth(np.array([start, (start + end) / 2 + bow * across, end])))
    return drawn(strokes, rng, pen_width(rng) * 0.8)


def filled(rng: Rng) -> Plane:
    """Draw a solid shape: a disc, a box, a triangle, a blob."""
    count = int(rng.choice([3, 4, 5, 40, 40, 40]))
    turn = rng.uniform(0, 2 * np.pi) + np.arange(count) * 2 * np.pi / count
    uneven = rng.uniform(0, 0.18) if count == 40 else rng.uniform(0, 0.1)
    radius = 0.5 * (1 + uneven * cv2.GaussianBlur(rng.normal(0, 3, (count, 1)), (1, 9), 2)[:, 0])
    wide = rng.uniform(0.55, 1.0)  # narrower, it could be a 1 of a thick pen
    corners = 0.5 + np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])
    canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    at = (corners * [wide, 1.0] * CANVAS * 0.75 + CANVAS * 0.1) * 16
    cv2.fillPoly(canvas, [np.rint(at).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return np.asarray(canvas, np.float32)


def dotted(rng: Rng) -> Plane:
    """Draw a dot, or two to six of them, as a tap or a sign has."""
    canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    radius = rng.uniform(0.05, 0.12) * CANVAS
    for x, y in rng.uniform(0.3, 0.7, (int(rng.choice([1, 1, 2, 3, 4, 6])), 2)) * CANVAS:
        size = round(float(radius * rng.uniform(0.8, 1.2) * 16))
        cv2.circle(canvas, (round(x * 16), round(y * 16)), size, 255, -1, cv2.LINE_AA, 4)
    return np.asarray(canvas, np.float32)


SIMPLE = (
    ("0,.5 1,.5",),  # a dash
    ("0,.2 1,.8",),
    ("0,.4 1,.4", "0,.6 1,.6"),  # equals
    ("0,.5 1,.5", ".5,0 .5,1"),  # plus
    ("0,.5 1,.5", ".5,0 .5,1"),
    ("0,.5 .3,1 .3,1 1,0",),  # a tick
    ("0,.6 .4,1 .4,1 1,0",),
    ("0,0 .5,1 .5,1 1,0",),
    ("0,1 .5,0 .5,0 1,1",),  # a roof
    ("0,.4 .3,.6 .6,.4 1,.6",),  # a tilde
    (".2,0 .2,1", ".6,0 .6,1"),  # two bars
    ("0,0 1,0", ".5,0 .5,1"),
    ("0,0 1,0 1,0 1,1 1,1 0,1",),
)


def simple(rng: Rng) -> Plane:
    """Draw a dash, a plus, a tick, or another sign of one or two straight strokes."""
    strokes = []
    for text in SIMPLE[rng.integers(len(SIMPLE))]:
        points = np.array([[float(v) for v in point.split(",")] for point in text.split()])
        jitter = rng.normal(0, 0.04, points.shape)
        same = np.r_[False, (np.diff(points, axis=0) == 0).all(axis=1)]
        jitter[same] = jitter[np.flatnonzero(same) - 1]
        strokes.append(smooth(points + jitter))
    return drawn(strokes, rng, float(rng.uniform(0.02, 0.1)))


def handwritten_piece(fonts: tuple[str, ...], rng: Rng) -> Plane:
    """Draw two or three letters of a handwriting font, as it joins them."""
    count = int(rng.integers(2, 4))
    letters = [HANDWRITTEN_LETTERS[at] for at in rng.integers(0, len(HANDWRITTEN_LETTERS), count)]
    text = letters[0] + "".join(letters[1:]).lower()
    distance = stroke_distance(glyph(fonts[rng.integers(len(fonts))], text), rng, pen=False)
    return on_canvas(distance, rng, rng.uniform(-0.005, 0.03))


def print_piece(rng: Rng) -> Plane:
    """Draw a piece of a printed line: two to five letters, cut somewhere."""
    name = FONTS[rng.integers(len(FONTS))]
    letters = without(LETTERS)[:40]
    text = "".join(letters[place] for place in rng.integers(0, len(letters), rng.integers(2, 6)))
    image = Image.new("L", (6 * WORK, 2 * WORK))
    ImageDraw.Draw(image).text((WORK // 2, WORK // 4), text, 255, font(name))
    ink = np.asarray(image, np.float32)
    left, top, width, height = cv2.boundingRect(np.asarray(image))
    cut = left + int(width * rng.uniform(0, 0.2)), left + int(width * rng.uniform(0.75, 1))
    return np.pad(ink[top : top + height, cut[0] : cut[1]], 8)


def scribble(rng: Rng) -> Plane:
    """Draw a random smooth curve."""
    count = int(rng.integers(7, 22))
    return drawn([smooth(rng.uniform(0, 1, (count, 2)))], rng, float(rng.uniform(0.015, 0.05)))


def zigzag(rng: Rng) -> Plane:
    """Draw a zigzag line."""
    count = int(rng.integers(5, 11))
    x = np.linspace(0, 1, count)
    y = np.where(np.arange(count) % 2, 0.0, rng.uniform(0.4, 1)) + rng.normal(0, 0.05, count)
    points = np.column_stack([x, y])
    stroke = smooth(points) if rng.random() < 0.5 else points
    return drawn([stroke if rng.random() < 0.5 else stroke[:, ::-1]], rng, pen_width(rng))


def spiral(rng: Rng) -> Plane:
    """Draw a spiral."""
    turn = np.linspace(0, 2 * np.pi * rng.uniform(2, 3.5), 60) * rng.choice([-1, 1])
    radius = np.linspace(0.05, 0.5, 60)
    points = 0.5 + np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])
    return drawn([points], rng, float(rng.uniform(0.02, 0.04)))


def polygon(rng: Rng) -> Plane:
    """Draw a triangle, box, star, cross or arrow."""
    kind = rng.integers(5)
    if kind == 0:
        corners = np.array([[0.5, 0], [1, 1], [0, 1], [0.5, 0]])
    elif kind == 1:
        wide = rng.uniform(0.6, 1)
        corners = np.array([[0, 0], [wide, 0], [wide, 1], [0, 1], [0, 0]])
    elif kind == 2:
        points = int(rng.integers(4, 7))
        turn = np.arange(2 * points + 1) * np.pi / points
        radius = np.where(np.arange(2 * points + 1) % 2, 0.2, 0.5)
        corners = 0.5 + np.column_stack([radius * np.sin(turn), -radius * np.cos(turn)])
    elif kind == 3:
        corners = np.array([[0, 0], [1, 1], [0.5, 0.5], [1, 0], [0, 1]])
    else:
        corners = np.array([[0, 0.5], [1, 0.5], [0.65, 0.2], [1, 0.5], [0.65, 0.8]])
    corners = corners + rng.normal(0, 0.04, corners.shape)
    turned = corners[:, ::-1] if rng.random() < 0.5 else corners
    return drawn([turned], rng, float(rng.uniform(0.015, 0.06)))


def grid(rng: Rng) -> Plane:
    """Draw an empty box or table."""
    down, across = (np.linspace(0, 1, int(rng.integers(2, 5))) for _ in range(2))
    strokes = [np.array([[x, 0], [x, 1.0]]) for x in across]
    strokes += [np.array([[0, y], [1.0, y]]) for y in down]
    return drawn(strokes, rng, float(rng.uniform(0.01, 0.03)))


def texture(rng: Rng) -> Plane:
    """Draw smooth noise or stripes."""
    shape = (CANVAS, CANVAS)
    field = waves(rng, shape, float(rng.uniform(3, 14)))
    if rng.random() < 0.5:
        y, x = np.mgrid[:CANVAS, :CANVAS] / CANVAS
        turn = rng.uniform(0, np.pi)
        phase = (np.cos(turn) * x + np.sin(turn) * y) * rng.uniform(3, 9) * 2 * np.pi
        field = (np.sin(phase) + 0.6 * field).astype(np.float32)
    level = float(np.quantile(field, rng.uniform(0.45, 0.8)))
    return np.asarray(255 * np.clip(0.5 + 4 * (field - level), 0, 1), np.float32)


def noise(rng: Rng) -> GrayImage:
    """Draw noise [28,28], which is not normalized."""
    kind = rng.integers(4)
    if kind == 0:
        pixels = rng.integers(0, 256, (28, 28))
    elif kind == 1:
        pixels = 255 * (rng.random((28, 28)) < rng.uniform(0.03, 0.5))
    elif kind == 2:
        smoothed = cv2.GaussianBlur(rng.standard_normal((28, 28)), (0, 0), rng.uniform(0.6, 2))
        pixels = 128 + 90 * smoothed / smoothed.std()
    else:
        size = int(rng.integers(2, 8))
        blocks = rng.integers(0, 256, (28 // size + 1,) * 2)
        pixels = np.kron(blocks, np.ones((size, size), np.int64))[:28, :28]
    return np.asarray(np.clip(pixels, 0, 255).astype(np.uint8))


HALVES = {0: "lrtb", 2: "lrb", 3: "lt", 4: "lt", 5: "ltr", 8: "l", 9: "l"}
"""Halves (left, right, top, bottom) of digits that are no digit, nor look like another's."""


def large(digit: GrayImage) -> Plane:
    """Enlarge a digit's ink to a longer side of `WORK` pixels."""
    left, top, width, height = cv2.boundingRect(digit)
    ink = digit[top : top + height, left : left + width].astype(np.float32)
    scale = WORK / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(ink, size, interpolation=cv2.INTER_CUBIC).clip(0, 255), np.float32)


def half(digits: GrayImage, labels: GrayImage, rng: Rng) -> Plane:
    """Draw a half of a digit that is no digit by itself."""
    while True:
        at = int(rng.integers(len(digits)))
        sides = HALVES.get(int(labels[at]))
        if sides:
            break
    ink = large(digits[at])
    height, width = ink.shape
    cut = rng.uniform(0.4, 0.55)
    match sides[rng.integers(len(sides))]:
        case "l":
            ink = ink[:, : max(4, int(width * cut))]
        case "r":
            ink = ink[:, min(width - 4, int(width * (1 - cut))) :]
        case "t":
            ink = ink[: int(height * cut)]
        case _:
            ink = ink[int(height * (1 - cut)) :]
    return np.pad(ink, 12)


def several(digits: GrayImage, rng: Rng) -> Plane:
    """Draw two or three digits side by side, or above each other."""
    count = 2 if rng.random() < 0.75 else 3
    parts = [large(digits[i]) for i in rng.integers(0, len(digits), count)]
    upright = rng.random() < 0.15
    if upright:
        parts = [np.ascontiguousarray(part.T) for part in parts]
    width = sum(part.shape[1] for part in parts) + 12 * count
    canvas = np.zeros((WORK + 24, width), np.float32)
    at = 6
    for part in parts:
        scaled = part if rng.random() < 0.5 else cv2.resize(part, None, fx=0.9, fy=0.9)
        top = 6 + int(rng.integers(0, WORK - scaled.shape[0] + 12))
        here = canvas[top : top + scaled.shape[0], at : at + scaled.shape[1]]
        np.maximum(here, scaled[: here.shape[0], : here.shape[1]], out=here)
        at += scaled.shape[1] + int(rng.integers(-4, 10))
    return np.pad(canvas.T if upright else canvas, 8)


def crossed_out(digits: GrayImage, rng: Rng) -> Plane:
    """Draw a digit with a zigzag line over it."""
    ink = np.pad(large(digits[rng.integers(len(digits))]), 16)
    height, width = ink.shape
    layer = np.zeros((height, width), np.uint8)
    count = int(rng.integers(5, 12))
    x = np.where(np.arange(count) % 2, rng.uniform(0.6, 0.95, count), rng.uniform(0.05, 0.4, count))
    y = np.linspace(0.15, 0.85, count) + rng.normal(0, 0.05, count)
    points = smooth(np.column_stack([x, y])) * [width, height]
    pen = int(rng.integers(3, 7))
    cv2.polylines(layer, [np.rint(points).astype(np.int32)], False, 255, pen, cv2.LINE_AA)
    return np.maximum(ink, layer)


def turned(digits: GrayImage, labels: GrayImage, rng: Rng) -> Plane:
    """Draw a digit on its side that is no digit there."""
    of_use = np.flatnonzero(np.isin(labels, (3, 4, 5, 8)))
    at = rng.choice(of_use) if len(of_use) else rng.integers(len(digits))
    return np.pad(np.rot90(large(digits[at]), int(rng.choice([1, 3]))), 12)


Maker = Callable[[GrayImage, GrayImage, Rng], Plane | GrayImage]

MADE: dict[str, tuple[float, Maker]] = {
    "printed letters": (0.11, lambda d, y, r: printed(without(LETTERS), FONTS, r)),
    "letters of other scripts": (
        0.13,
        lambda d, y, r: printed(letters_of(held_back=False), (SCRIPT_FONT,), r),
    ),
    "written letters": (
        0.17,
        lambda d, y, r: written(WRITTEN, sorted(WRITTEN.keys() - HELD_BACK_WRITTEN), r),
    ),
    "invented letters": (0.06, lambda d, y, r: invented(r)),
    "signs": (0.04, lambda d, y, r: printed(SIGNS, FONTS, r)),
    "written signs": (
        0.12,
        lambda d, y, r: written(WRITTEN_SIGNS, sorted(WRITTEN_SIGNS.keys() - HELD_BACK_SIGNS), r),
    ),
    "simple signs": (0.04, lambda d, y, r: simple(r)),
    "filled shapes": (0.03, lambda d, y, r: filled(r)),
    "dots": (0.03, lambda d, y, r: dotted(r)),
    "pieces of print": (0.03, lambda d, y, r: print_piece(r)),
    "scribbles": (0.03, lambda d, y, r: scribble(r)),
    "zigzags": (0.02, lambda d, y, r: zigzag(r)),
    "shapes": (0.03, lambda d, y, r: polygon(r)),
    "boxes": (0.02, lambda d, y, r: grid(r)),
    "textures": (0.02, lambda d, y, r: texture(r)),
    "noise": (0.02, lambda d, y, r: noise(r)),
    "halves": (0.04, half),
    "several digits": (0.04, lambda d, y, r: several(d, r)),
    "crossed out": (0.02, lambda d, y, r: crossed_out(d, r)),
}
"""Kinds to learn from, and their shares."""

HELD_BACK: dict[str, tuple[float, Maker]] = {
    "letters of other fonts": (
        0.2,
        lambda d, y, r: printed(without(LETTERS), HELD_BACK_FONTS, r),
    ),
    "letters of more scripts": (
        0.15,
        lambda d, y, r: printed(letters_of(held_back=True), (SCRIPT_FONT,), r),
    ),
    "other letters": (0.15, lambda d, y, r: printed(HELD_BACK_LETTERS, FONTS, r)),
    "other written letters": (0.2, lambda d, y, r: written(WRITTEN, sorted(HELD_BACK_WRITTEN), r)),
    "other written signs": (
        0.1,
        lambda d, y, r: written(WRITTEN_SIGNS, sorted(HELD_BACK_SIGNS), r),
    ),
    "spirals": (0.05, lambda d, y, r: spiral(r)),
    "several digits": (0.1, lambda d, y, r: several(d, r)),
    "turned digits": (0.05, turned),
}
"""Kinds that rejection is reported on."""


def without(letters: str) -> str:
    """Return `letters` without those that are held back."""
    return "".join(c for c in letters if c not in HELD_BACK_LETTERS)


def table_of(*, held_back: bool, fonts: tuple[str, ...]) -> dict[str, tuple[float, Maker]]:
    """Return the kinds to make; `fonts` are paths of handwriting fonts, whose letters are more."""
    table = HELD_BACK if held_back else MADE
    if not fonts:
        return table

    def letters(digits: GrayImage, labels: GrayImage, rng: Rng) -> Plane:
        return printed(HANDWRITTEN_LETTERS, fonts, rng)

    def pieces(digits: GrayImage, labels: GrayImage, rng: Rng) -> Plane:
        return handwritten_piece(fonts, rng)

    return table | {
        "letters of handwriting fonts": (0.6, letters),
        "pieces of handwriting fonts": (0.1, pieces),
    }


def sample(
    n: int,
    rng: Rng,
    digits: GrayImage,
    labels: GrayImage,
    *,
    held_back: bool = False,
    fonts: tuple[str, ...] = (),
) -> tuple[GrayImage, GrayImage]:
    """Make `n` outliers.

    Args:
        n: Outliers to make.
        rng: The generator.
        digits: [m,h,w], from which pairs and halves are made.
        labels: [m].
        held_back: Make the kinds of `HELD_BACK` instead of those of `MADE`.
        fonts: Paths of handwriting fonts, whose letters are then made, too.

    Returns:
        The outliers uint8 [n,28,28], normalized, and the index of each kind in its table.
    """
    table = table_of(held_back=held_back, fonts=fonts)
    shares = np.array([share for share, _ in table.values()])
    makers = [maker for _, maker in table.values()]
    share = 0.0 if held_back else CARRIED
    kinds = rng.choice(len(makers), n, p=shares / shares.sum()).astype(np.uint8)
    outliers = np.empty((n, 28, 28), np.uint8)
    for i, kind in enumerate(kinds):
        while may_be_one(outlier := arrived(makers[kind](digits, labels, rng), rng, share)):
            pass
        outliers[i] = outlier
    return outliers, kinds


def may_be_one(outlier: GrayImage) -> bool:
    """Tell whether it is a single stroke, upright or slanted, as a 1 is.

    Normalizing may leave no more of an empty box than a side, nor of an exclamation mark than its
    bar.
    """
    if cv2.connectedComponents((outlier > FAINT).astype(np.uint8))[0] > 2:
        return False
    ink = cv2.moments(outlier)
    along, up, both = ink["mu20"], ink["mu02"], ink["mu11"]
    across = (along + up - np.hypot(along - up, 2 * both)) / 2
    return bool(up > along and across <= STROKE_SPREAD**2 * ink["m00"])


def arrived(ink: Plane | GrayImage, rng: Rng, share: float) -> GrayImage:
    """Return ink [h,w] normalized to [28,28], `share` of it after it was drawn or photographed."""
    if ink.shape == (28, 28) or not share or rng.random() >= share:
        return normalized(ink)
    levels = np.rint(ink).clip(0, 255).astype(np.uint8)
    levels = levels[box_of(levels > 24)]
    whole, found = canvases.fitted(levels), canvases.normalized(levels, rng)
    return found if canvases.are_alike(found, whole) else whole


def normalized(ink: Plane | GrayImage) -> GrayImage:
    """Return ink [h,w] normalized to [28,28]; ink of that size stays as it is."""
    if ink.shape == (28, 28):
        return np.asarray(ink, np.uint8)
    return normalize(np.rint(ink).clip(0, 255).astype(np.uint8)).digit


def paths_of_fonts(folder: Path, *, held_back: bool) -> tuple[str, ...]:
    """Return the paths of the handwriting fonts to learn from, or of those held back."""
    from training.corpora import fonts  # noqa: PLC0415 -- it draws with this module's pen

    fonts.verify(folder)
    families = fonts.families(held_back=held_back)
    return tuple(str(fonts.file_of(folder, family)) for family in families)


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.corpora.outliers", description=__doc__
    )
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz, or USPS digits: x, y")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--held-back", action="store_true", help="the kinds never trained on")
    parser.add_argument("--fonts", type=Path, help="folder of the handwriting fonts")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    digits, labels = source(args.data, args.split)
    rng = np.random.default_rng(args.seed)
    fonts = paths_of_fonts(args.fonts, held_back=args.held_back) if args.fonts else ()
    made, kinds = sample(args.count, rng, digits, labels, held_back=args.held_back, fonts=fonts)
    names = np.array(list(table_of(held_back=args.held_back, fonts=fonts)))
    np.savez_compressed(args.out, digits=made, kinds=kinds, kind_names=names)
    print(f"{args.out}: {len(made)} outliers of {len(names)} kinds")


if __name__ == "__main__":
    main()

"""Strokes: digits as people of many countries write them, from skeletons made by hand.

MNIST has one country's hands. `WRITTEN` has the ways of writing a digit that it hardly has: a 1
with a flag and no foot, a crossed 7, a 4 like lightning, a slashed 0, a 9 like g. A way's strokes
are bent, slanted and stretched, drawn with a pen of any width, speed and wobble, unbroken or in
dots, and normalized by `training.corpora.canvases`, at any size on a canvas or photographed.

    python -m training.corpora.strokes --count 60000 --seed 1 --out strokes.npz

writes a pool: `digits` uint8 [n,28,28] with `labels`, and `kinds`, an index into `kind_names`.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.vision.grayscale import GrayImage
from training.corpora import Rng, canvases
from training.corpora.outliers import smooth
from training.corpora.scenes import box_of

Points = NDArray[np.float64]

WRITTEN: dict[str, tuple[str, ...]] = {
    # As in `outliers.WRITTEN`: points x,y from the upper left of a square, a stroke each; curves
    # run smoothly through them, and a point that is given twice is a corner.
    "0 closed": (".32,0 .1,.15 0,.5 .1,.85 .32,1 .54,.85 .64,.5 .54,.13 .3,.01",),
    "0 round": (".5,.02 .15,.1 0,.5 .15,.9 .5,1 .85,.9 1,.5 .85,.1 .46,0",),
    "0 narrow": (".2,0 .05,.2 0,.5 .06,.85 .2,1 .36,.8 .4,.45 .34,.15 .18,.01",),
    "0 open": (".42,.02 .15,.1 0,.5 .12,.88 .35,1 .6,.85 .68,.5 .6,.2 .5,.1",),
    "0 looped": (
        ".5,.12 .3,0 .08,.15 0,.5 .1,.86 .34,1 .58,.84 .64,.45 .5,.1 .36,.06 .42,.2 .66,.05",
    ),
    "0 like D": (".08,.02 .04,.5 .06,.98 .06,.98 .4,.95 .62,.75 .65,.4 .45,.1 .06,.03",),
    "0 tailed": (".45,.1 .15,.08 0,.45 .1,.88 .34,1 .6,.8 .64,.4 .5,.12 .3,0 .1,-.06",),
    "0 slashed": (
        ".32,0 .1,.15 0,.5 .1,.85 .32,1 .54,.85 .64,.5 .54,.13 .3,.01",
        ".68,.02 -.02,.98",
    ),
    "0 slashed within": (
        ".36,0 .1,.13 0,.5 .1,.87 .36,1 .62,.87 .72,.5 .62,.13 .34,.01",
        ".54,.24 .2,.78",
    ),
    "0 dotted": (
        ".36,0 .1,.13 0,.5 .1,.87 .36,1 .62,.87 .72,.5 .62,.13 .34,.01",
        ".36,.49 .37,.52",
    ),
    "1 plain": ("0,0 0,1",),
    "1 bowed": (".04,0 0,.3 0,.6 .06,1",),
    "1 footed": (".3,0 .3,1", "0,1 .62,1"),
    "2 plain": (".03,.25 .12,.06 .35,0 .6,.1 .6,.35 .4,.65 0,1 0,1 .7,.97",),
    "2 looped": (
        ".03,.22 .15,.04 .4,0 .6,.15 .55,.42 .3,.8 .08,.98 .0,.88 .14,.82 .4,.95 .72,.94",
    ),
    "2 curly": (".05,.2 .25,0 .52,.06 .58,.3 .38,.7 .12,1 -.05,.9 .04,.72 .25,.75 .5,.98 .74,.85",),
    "2 like α": (".1,.1 .4,.03 .6,.25 .5,.55 .25,.95 .02,1 -.08,.8 .08,.62 .3,.7 .6,1 .85,.95",),
    "2 angular": (".02,.12 .3,.0 .6,.06 .6,.06 .58,.3 0,1 0,1 .66,1",),
    "2 swan": (".0,.32 .04,.08 .25,-.02 .45,.1 .42,.42 .2,.75 .02,.98 .25,.9 .45,.97 .75,.9",),
    "2 hooked": (".12,.3 .02,.24 .06,.08 .3,0 .56,.1 .56,.38 .3,.72 0,1 0,1 .4,.95 .7,1",),
    "3 round": (".03,.12 .25,0 .52,.08 .54,.3 .25,.46 .25,.46 .55,.56 .6,.82 .3,1 0,.9",),
    "3 flat": (".02,.02 .58,0 .58,0 .25,.4 .25,.4 .52,.48 .62,.72 .45,.95 .2,1 0,.9",),
    "3 flat round": (".02,.03 .55,.0 .55,.0 .22,.38 .22,.38 .55,.5 .58,.82 .3,1 .05,.97 -.02,.85",),
    "3 looped": (
        ".02,.12 .25,0 .52,.1 .5,.35 .28,.48 .18,.44 .26,.38 .32,.48 .58,.62 .55,.9 .25,1 0,.88",
    ),
    "3 long": (".1,.06 .35,0 .5,.12 .42,.3 .2,.4 .2,.4 .5,.5 .55,.75 .3,1 -.05,1",),
    "3 hooked": (
        ".0,.25 .02,.08 .25,0 .5,.1 .48,.32 .22,.45 .22,.45 .52,.55 .58,.8 .32,1 .02,.95 .0,.8",
    ),
    "4 open": (".12,0 .0,.58 .0,.58 .62,.56", ".5,.12 .46,1"),
    "4 open slanted": (".35,0 0,.62 0,.62 .75,.6", ".55,.3 .48,1"),
    "4 open upright": ("0,.02 .01,.5 .01,.5 .56,.49", ".55,0 .54,1"),
    "4 open round": (".02,0 0,.35 .12,.52 .35,.52 .55,.42 .55,.42", ".58,.0 .52,1"),
    "4 closed": (".5,1 .52,0 .52,0 0,.66 0,.66 .78,.65",),
    "4 closed two": (".5,0 0,.66 0,.66 .8,.64", ".5,.0 .5,1"),
    "4 closed low": (".46,0 .0,.74 .0,.74 .72,.72", ".47,.04 .46,1"),
    "4 lightning": (".32,0 .0,.52 .0,.52 .5,.48 .5,.48 .3,1",),
    "4 lightning wide": (".4,0 .02,.5 .02,.5 .62,.46 .62,.46 .42,1",),
    "4 lightning crossed": (".38,0 0,.6 0,.6 .7,.56", ".52,.34 .36,1"),
    "4 one stroke": (".14,.0 .0,.55 .0,.55 .3,.56 .56,.42 .6,.06 .6,.06 .52,1",),
    "5 plain": (".08,.02 .04,.42 .04,.42 .35,.36 .6,.55 .58,.85 .3,1 0,.92", ".06,.02 .62,0"),
    "5 one stroke": (".6,0 .1,.02 .1,.02 .05,.42 .05,.42 .35,.38 .58,.58 .55,.86 .28,1 0,.92",),
    "5 hooked": (".62,.06 .35,.0 .12,.04 .08,.3 .2,.42 .5,.5 .58,.75 .4,.98 .05,.95",),
    "5 flat": (".85,0 .15,.03 .15,.03 .1,.36 .1,.36 .5,.34 .85,.5 .8,.85 .4,1 0,.94",),
    "5 detached": (".1,.06 .04,.44 .04,.44 .35,.4 .58,.6 .54,.88 .28,1 0,.9", ".16,-.02 .66,-.06"),
    "5 angular": (".58,0 .08,0 .08,0 .05,.45 .05,.45 .52,.46 .52,.46 .54,.9 .54,.9 .0,.95",),
    "5 slanted": (".25,.0 .12,.4 .12,.4 .4,.38 .56,.58 .46,.88 .2,1 -.02,.9", ".26,.02 .8,-.04"),
    "5 small belly": (".12,.02 .06,.55 .06,.55 .3,.5 .48,.64 .42,.9 .2,1 .0,.94", ".1,.02 .6,.02"),
    "6 straight": (".5,0 .2,.35 .03,.7 .12,.95 .35,1 .55,.85 .52,.62 .3,.54 .08,.7",),
    "6 curled": (".6,.12 .45,0 .2,.15 .02,.55 .06,.88 .3,1 .55,.9 .58,.65 .35,.52 .06,.68",),
    "6 upright": (".1,0 .02,.4 .0,.75 .1,.97 .34,1 .54,.84 .46,.6 .25,.56 .03,.75",),
    "6 like G": (".6,.1 .35,0 .08,.2 0,.6 .12,.94 .4,1 .62,.82 .58,.62 .58,.62 .3,.62",),
    "6 curled in": (".55,.05 .2,.12 .0,.55 .1,.95 .4,1 .6,.8 .5,.58 .28,.6 .24,.76 .36,.82",),
    "6 small loop": (".42,0 .15,.4 .03,.8 .12,.98 .3,1 .42,.86 .32,.74 .15,.78 .06,.86",),
    "7 plain": ("0,.04 .62,0 .62,0 .4,.45 .25,1",),
    "7 straight": ("0,0 .62,0 .62,0 .2,1",),
    "7 upright": ("0,.02 .52,0 .52,0 .44,1",),
    "7 crossed": ("0,.03 .64,0 .64,0 .42,.45 .28,1", ".14,.5 .64,.46"),
    "7 crossed straight": ("0,0 .62,0 .62,0 .22,1", ".12,.52 .66,.5"),
    "7 wavy": ("0,.12 .08,.02 .25,.03 .42,.09 .64,.0 .64,.0 .44,.45 .32,1",),
    "7 wavy crossed": (
        "0,.12 .08,.02 .25,.03 .42,.09 .64,.0 .64,.0 .44,.45 .32,1",
        ".16,.52 .66,.48",
    ),
    "7 serifed": (".02,.18 .0,.02 .0,.02 .6,.02 .6,.02 .38,.45 .24,1",),
    "7 serifed crossed": (".02,.2 .0,.02 .0,.02 .6,.02 .6,.02 .38,.45 .24,1", ".14,.52 .6,.5"),
    "7 bowed": ("0,.06 .3,.04 .6,.0 .6,.0 .45,.25 .32,.6 .34,1",),
    "8 plain": (
        ".56,.14 .3,0 .06,.14 .14,.38 .48,.58 .56,.84 .3,1 .04,.84 .12,.58 .44,.4 .56,.12",
    ),
    "8 open": (".56,.06 .3,0 .08,.14 .16,.38 .48,.6 .54,.86 .28,1 .04,.86 .14,.6 .42,.4 .62,.16",),
    "8 two circles": (
        ".28,0 .08,.1 .06,.34 .28,.46 .5,.34 .48,.1 .27,.01",
        ".28,.46 .04,.56 .0,.86 .28,1 .56,.86 .52,.56 .27,.47",
    ),
    "8 circles apart": (
        ".26,0 .1,.08 .08,.32 .26,.42 .44,.32 .42,.08 .25,.01",
        ".29,.48 .06,.58 .04,.88 .3,1 .56,.88 .52,.58 .28,.49",
    ),
    "8 from the middle": (
        ".3,.46 .06,.3 .1,.06 .3,0 .52,.08 .52,.3 .3,.46 .04,.62 .04,.9 .3,1 .56,.9 .56,.62 .3,.45",
    ),
    "8 slim": (".36,.08 .2,0 .06,.14 .12,.4 .3,.6 .34,.86 .18,1 .02,.86 .1,.6 .28,.4 .37,.1",),
    "9 straight": (".5,.1 .25,0 .02,.15 .06,.42 .3,.48 .5,.3 .52,.06 .52,.06 .48,1",),
    "9 slanted": (".5,.12 .28,0 .04,.16 .06,.42 .28,.48 .5,.28 .54,.08 .54,.08 .25,1",),
    "9 curled": (".5,.12 .26,0 .02,.18 .08,.44 .32,.46 .52,.25 .52,.1 .54,.6 .4,.95 .15,1 .0,.88",),
    "9 like g": (
        ".52,.08 .25,0 .02,.16 .08,.4 .32,.44 .52,.2 .52,.06 .52,.06 .54,.75 .38,1 .1,.98 .0,.82",
    ),
    "9 like g looped": (
        ".5,.08 .24,0 .02,.16 .1,.38 .34,.38 .5,.15 .5,.06 .5,.06 .5,.7 .3,1 .02,.95 .1,.78 .66,.6",
    ),
    "9 open": (".46,.06 .2,.0 .02,.18 .1,.42 .34,.44 .54,.26 .56,.02 .56,.02 .5,.5 .4,1",),
    "9 round": (".3,.5 .08,.4 .04,.14 .28,0 .52,.12 .54,.45 .42,.8 .2,1",),
    "9 in two": (".5,.1 .25,0 .02,.18 .1,.44 .36,.46 .5,.28 .48,.06", ".54,.02 .48,1"),
}

FLAGGED = ("flag", "flag and foot", "curved flag", "flag apart")
"""Kinds of a 1 whose flag has a length and an angle of its own; see `flagged`."""
FLAGGED_WEIGHT = 4.0
"""How much more often these are drawn than another way: flags differ more than ways do."""
MORE = {1: 2.0, 7: 1.5}
"""How much more often these digits are drawn than another: hands differ most in them, and where a 1
has a flag they are hardest to tell apart."""
WEIGHTS = {"1 plain": 2.0, "1 footed": 0.7, "1 bowed": 1.0, "0 like D": 0.5, "2 like α": 0.5}

DOTTED = 0.05
"""Share drawn as dots."""
PEN = (0.018, 0.2)
"""Width of the pen as a share of the digit's longer side; MNIST's are 0.1 to 0.2."""


def names() -> list[str]:
    """Return the names of all ways of writing; the first character is the digit."""
    return sorted([*WRITTEN, *(f"1 {kind}" for kind in FLAGGED)])


def weights() -> NDArray[np.float64]:
    """Return how often each of `names` is drawn, summing to 1: digits as often as `MORE` says."""
    each = [FLAGGED_WEIGHT if name[2:] in FLAGGED else WEIGHTS.get(name, 1.0) for name in names()]
    shares = np.array(each)
    labels = np.array([int(name[0]) for name in names()])
    wanted = np.array([MORE.get(digit, 1.0) for digit in range(10)])
    each = wanted / wanted.sum() / np.bincount(labels, shares)
    return np.asarray(shares * each[labels])


def flagged(kind: str, rng: Rng) -> list[Points]:
    """Return the strokes of a 1 with a flag that rises to its top.

    It rises by 25° at least, and a long one by more: below, people themselves are not sure whether
    it is a 7.
    """
    length = rng.uniform(0.15, 0.9)
    least = 25 if length < 0.5 else 32 if length < 0.75 else 45
    rise = np.deg2rad(rng.uniform(least, 68))
    start = np.array([-length * np.cos(rise), length * np.sin(rise)])
    top, end = np.zeros(2), np.array([rng.uniform(-0.06, 0.06), 1.0])
    flag = np.array([start, start / 2 + rng.normal(0, 0.015, 2), top])
    if kind == "curved flag":
        flag[1] += np.array([0.5, 0.6]) * rng.uniform(0.1, 0.25) * length
    stem = np.array([top, (top + end) / 2 + [rng.normal(0, 0.025), 0], end])
    if kind == "flag apart":
        return [smooth(flag + rng.uniform(-0.05, 0.03, 2)), smooth(stem)]
    strokes = [smooth(np.vstack([flag, stem]))]
    if kind == "flag and foot":
        half = rng.uniform(0.15, 0.45)
        strokes.append(smooth(end + half * np.array([[-1.0, 0.0], [1.0, 0.0]])))
    return strokes


def skeleton(name: str, rng: Rng) -> list[Points]:
    """Return the strokes of a way of writing, as one hand writes it once."""
    if name[2:] in FLAGGED:
        return flagged(name[2:], rng)
    strokes = []
    unsteady = rng.uniform(0.005, 0.04)
    for text in WRITTEN[name]:
        points = np.array([[float(v) for v in point.split(",")] for point in text.split()])
        jitter = rng.normal(0, unsteady, points.shape)
        same = np.r_[False, (np.diff(points, axis=0) == 0).all(axis=1)]
        jitter[same] = jitter[np.flatnonzero(same) - 1]
        strokes.append(smooth(points + jitter + rng.normal(0, unsteady / 2, (1, 2))))
    return strokes


def hooked(stroke: Points, rng: Rng) -> Points:
    """Add the small hook of a pen that is set down or lifted in passing."""
    length = rng.uniform(0.03, 0.1)
    way = stroke[-1] - stroke[-3]
    angle = np.arctan2(way[1], way[0]) + rng.uniform(0.6, 2.4) * rng.choice([-1, 1])
    tip = stroke[-1] + length * np.array([np.cos(angle), np.sin(angle)])
    return np.vstack([stroke, (stroke[-1] + tip) / 2 + rng.normal(0, 0.005, 2), tip])


def handwritten(strokes: list[Points], rng: Rng) -> list[Points]:
    """Slant, stretch, turn and bend strokes as a hand does, all of them alike."""
    slant, turn = rng.normal(0.06, 0.17), np.deg2rad(rng.normal(0, 5))
    wide = np.exp(rng.normal(0.0, 0.18))
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    bow, lean = rng.normal(0, 0.06, 2)
    written = []
    for stroke in strokes:
        x, y = (stroke * [wide, 1.0]).T
        x = x - slant * (y - 0.5) + bow * (y - 0.5) ** 2
        y = y + lean * (x - 0.3) ** 2
        points = np.column_stack([x, y]) @ rotation
        for end in (0, -1):
            if rng.random() < 0.12 and len(points) > 6:
                points = hooked(points[:: -1 if end == 0 else 1], rng)[:: -1 if end == 0 else 1]
        written.append(points)
    return written


def paced(stroke: Points, rng: Rng) -> Points:
    """Return a stroke as a device samples it: trembling, in straight pieces where it is fast."""
    steps = np.hypot(*np.diff(stroke, axis=0).T)
    along = np.r_[0, np.cumsum(steps)]
    if along[-1] < 0.02:
        return stroke
    fast = rng.random() < 0.15
    every = rng.uniform(0.1, 0.22) if fast else rng.uniform(0.01, 0.05)
    count = max(4, round(along[-1] / every))
    at = np.linspace(0, along[-1], count)
    points = np.column_stack([np.interp(at, along, axis) for axis in stroke.T])
    wobble = rng.choice([0.0, 0.004, 0.01, 0.016], p=[0.45, 0.3, 0.2, 0.05])
    tremor = cv2.GaussianBlur(rng.normal(0, 1, (count, 2)), (1, 5), sigmaX=0.1, sigmaY=1.2)
    return np.asarray(points + 1.6 * wobble * tremor)


def inked(strokes: list[Points], pen: float, rng: Rng, *, dotted: bool) -> GrayImage:
    """Draw strokes whose longer side is `INKED` pixels, white on black, cut to the ink."""
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    side = float((high - low).max())
    scale = INKED * (1 - pen) / side
    size = np.ceil((high - low) * scale + INKED * (pen + 0.1)).astype(int)
    ink = np.zeros(size[::-1], np.uint8)
    press = rng.uniform(0, 0.35) if rng.random() < 0.5 else 0.0
    for stroke in strokes:
        placed = (stroke - low) * scale + INKED * (pen + 0.1) / 2
        if dotted:
            dots(ink, placed, pen * INKED, rng)
            continue
        first, last = rng.uniform(0, 6, 2)
        pressure = np.sin(np.linspace(float(first), float(last), len(placed)))
        widths = pen * INKED * (1 + press * pressure)
        at = np.rint(placed * 16).astype(np.int32)
        for start, end, width in zip(at, at[1:], widths, strict=False):
            cv2.line(ink, start, end, 255, max(1, round(width)), cv2.LINE_AA, 4)
    return np.asarray(ink[box_of(ink > 24)])


INKED = 100
"""Pixels of the longer side of a digit while it is drawn."""


def dots(ink: GrayImage, stroke: Points, width: float, rng: Rng) -> None:
    """Draw a stroke as dots, more or less a width apart."""
    along = np.r_[0, np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))]
    at = np.arange(0, along[-1], width * rng.uniform(1.1, 1.8))
    for x, y in zip(*(np.interp(at, along, axis) for axis in stroke.T), strict=True):
        cv2.circle(ink, (round(x * 16), round(y * 16)), round(width * 8), 255, -1, cv2.LINE_AA, 4)


def drawn(name: str, rng: Rng) -> GrayImage:
    """Draw one digit in the named way: white ink on black [h,w], cut to the ink."""
    strokes = [paced(stroke, rng) for stroke in handwritten(skeleton(name, rng), rng)]
    dotted = bool(rng.random() < DOTTED)
    pen = float(np.exp(rng.uniform(*np.log(PEN))))
    return inked(strokes, min(max(pen, 0.05), 0.1) if dotted else pen, rng, dotted=dotted)


@dataclass(frozen=True, slots=True)
class Pool:
    """Digits, normalized.

    Attributes:
        digits: uint8 [n,28,28].
        labels: [n].
        kinds: [n], index into `kind_names`.
        kind_names: The names of all ways of writing.
    """

    digits: GrayImage
    labels: GrayImage
    kinds: GrayImage
    kind_names: NDArray[np.str_]


def pool(*, count: int, seed: int) -> Pool:
    """Draw digits, of each way as often as `weights` says; each has a seed of its own."""
    ways = names()
    kinds = np.random.default_rng(seed).choice(len(ways), count, p=weights()).astype(np.uint8)
    digits = np.empty((count, 28, 28), np.uint8)
    for place, kind in enumerate(kinds):
        rng = np.random.default_rng((seed, place))
        digits[place] = canvases.normalized(drawn(ways[kind], rng), rng)
    labels = np.array([int(ways[kind][0]) for kind in kinds], np.uint8)
    return Pool(digits, labels, kinds, np.array(ways))


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.corpora.strokes", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--count", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sheet", type=Path, help="draw examples of every way into this PNG")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    made = pool(count=args.count, seed=args.seed)
    np.savez_compressed(args.out, **asdict(made))
    print(f"{args.out}: {len(made.digits)} digits in {len(made.kind_names)} ways")
    if args.sheet:
        draw(made, args.sheet)


def draw(made: Pool, path: Path) -> None:
    """Draw eight digits of every way of writing in a pool."""
    from training import plots  # noqa: PLC0415 -- matplotlib takes a second, and a pool has none

    rows = {str(way): made.digits[made.kinds == kind] for kind, way in enumerate(made.kind_names)}
    shown = {way: images[:8] for way, images in rows.items() if len(images)}
    plots.sheet(shown, "Ways of writing digits, drawn by code, as the networks see them", path)


if __name__ == "__main__":
    main()

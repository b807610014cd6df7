"""The recipe: one command from what is in the repository to the version that ships.

    make model                                   or
    python -m training.recipe --work .model [--usps usps.npz] [--people FOLDER]

Its stages run one after another, each a command that can be run by itself; they are listed with
`--list`. A stage that is done is not done again while its command stays the same, so that a stopped
recipe goes on where it was, at the stage that it was in. What it makes is a candidate under
`models/digits`, which `training.promote` takes from there.

The networks are not trained from nothing: they go on from version 6's (`START`), whose own recipe
is in docs/training.md. The same seeds give the same pools, byte for byte; training gives the same
figures up to the order of summation on the processor at hand.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training import export
from training.corpora import data

START = Path("models/digits/6")
SEEDS = (1, 2, 3)
ACCURATE = ("--epochs", "4", "--batch-size", "64", "--learning-rate", "5e-4", "--keep", "0.3")
FAST = ("--epochs", "3", "--batch-size", "128", "--learning-rate", "5e-4", "--keep", "0.3")
MEAN = "accurate-mean"
STEADY = 10.0
"""Minutes by which the first stages tell less of a machine's pace: fonts may have been fetched."""

Words = list[str]


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of the recipe.

    Attributes:
        name: Unique; its mark in the folder `done` has it.
        words: Returns the command behind `python -m`, from what the stages before have made.
        minutes: How long it takes on two cores; of all together, what is left is told.
    """

    name: str
    words: Callable[[], Words]
    minutes: float


def stages(options: argparse.Namespace) -> list[Stage]:
    """Return the stages in order."""
    work: Path = options.work
    models: Path = options.models
    pools, held_back, runs = work / "pools", work / "validation", work / "runs"
    mnist = ["--data", str(options.data)]
    fonts = ["--fonts", str(options.fonts)]
    learned = ["--scenes", f"{pools}/scenes.npz", "--outliers", f"{pools}/outliers.npz"]
    learned += ["--hands", f"{pools}/fonts.npz", f"{pools}/strokes.npz"]
    chosen_by = [str(held_back / f"{name}.npz") for name in ("fonts", "strokes", "scenes")]
    chosen_by += [str(options.usps)] if options.usps else []
    judged = ["--validation", *chosen_by]

    seeds = tuple(f"accurate-{seed}" for seed in SEEDS)

    def pool(module: str, folder: Path, *more: str) -> Callable[[], Words]:
        name = module.removesuffix(" pool")
        out = ["--out", str(folder / f"{name}.npz")]
        return lambda: [f"training.corpora.{name}", *module.split()[1:], *more, *out]

    def trained(name: str, seed: int, how: tuple[str, ...], *more: str) -> Words:
        place = ["--from", str(START), "--only", name, "--runs", str(runs / f"{name}-{seed}")]
        seeded = ["--seed", str(seed), "--run-only"]
        return ["training.train", *place, *how, *seeded, *more, *learned, *judged, *mnist]

    def runs_of(*names: str) -> Words:
        # The last of each: one that was stopped has left a run that is older.
        return [str(max((runs / name).iterdir())) for name in names]

    def finished(names: tuple[str, ...], versions: Path) -> Words:
        found = runs_of(*names)
        return ["training.train", "--finish", *found, "--models", str(versions), *mnist]

    def evaluated(*more: str) -> Words:
        return ["training.evaluate", "--model", newest(models), "--card", *more]

    report = [*mnist, "--per-kind", "60", "--plots", str(work / "plots")]
    report += ["--usps", str(options.usps)] if options.usps else []
    plan = [
        Stage("fetch fonts", lambda: ["training.corpora.fonts", "fetch", *fonts], 2),
        Stage("scenes", pool("scenes", pools, *mnist, "--count", "36000", "--seed", "1"), 4),
        Stage("strokes", pool("strokes", pools, "--count", "16000", "--seed", "1"), 1),
        Stage("fonts", pool("fonts pool", pools, *fonts, "--count", "12000", "--seed", "1"), 1),
        Stage(
            "outliers",
            pool("outliers", pools, *mnist, *fonts, "--count", "60000", "--seed", "1"),
            2,
        ),
        Stage(
            "held-back fonts",
            pool(
                "fonts pool", held_back, *fonts, "--held-back", "--count", "2400", "--seed", "1001"
            ),
            1,
        ),
        Stage(
            "held-back strokes",
            pool("strokes", held_back, "--count", "3000", "--seed", "1001"),
            1,
        ),
        Stage(
            "held-back scenes",
            pool(
                "scenes",
                held_back,
                *mnist,
                "--split",
                "report",
                "--count",
                "3300",
                "--seed",
                "1001",
            ),
            1,
        ),
        *(
            Stage(f"accurate network, seed {seed}", partial_words(trained, seed), 8)
            for seed in SEEDS
        ),
        Stage(
            "mean of the seeds",
            lambda: ["training.soup", *runs_of(*seeds), "--runs", str(runs / MEAN), *mnist],
            1,
        ),
        Stage(
            "choice of the accurate network",
            lambda: finished((*seeds, MEAN), work / "accurate"),
            2,
        ),
        Stage(
            "fast network",
            lambda: trained("fast", 1, FAST, "--teacher", newest(work / "accurate")),
            9,
        ),
        Stage("cascade", lambda: finished(("fast-1",), work / "versions"), 2),
        Stage(
            "eight bits",
            lambda: [
                "training.quantize",
                newest(work / "versions"),
                *("--models", str(models)),
                *judged,
                *mnist,
            ],
            2,
        ),
        Stage(
            "reference for drift",
            lambda: ["training.reference", newest(models), *mnist],
            2,
        ),
        Stage("evaluation, card and pictures", lambda: evaluated(*report), 5),
    ]
    if options.people:
        people = ["--people", str(options.people)]
        plan.append(Stage("people's digits", lambda: evaluated(*people), 1))
    return plan


def newest(models: Path) -> str:
    """Return the folder of the highest version in `models`."""
    return str(models / str(export.next_version(models) - 1))


def partial_words(trained: Callable[..., Words], seed: int) -> Callable[[], Words]:
    """Return the words of an accurate network's stage; a loop's own lambda would keep the last."""
    return lambda: trained("accurate", seed, ACCURATE)


def run(plan: list[Stage], done: Path) -> int:
    """Run the stages that are not done; return the exit code of the first that fails, or 0."""
    done.mkdir(parents=True, exist_ok=True)
    pace, spent, planned = 1.0, 0.0, 0.0
    for place, stage in enumerate(plan):
        words = stage.words()
        mark = done / f"{place + 1:02}"
        if mark.exists() and mark.read_text() == signature(stage.name, words):
            continue
        left = pace * sum(each.minutes for each in plan[place:])
        print(f"[{place + 1}/{len(plan)}] {stage.name}: about {left:.0f} minutes left", flush=True)
        began = time.monotonic()
        code = subprocess.run([sys.executable, "-m", *words], check=False).returncode  # noqa: S603
        if code:
            print(f"{stage.name} failed; the same command goes on from there", file=sys.stderr)
            return code
        spent += (time.monotonic() - began) / 60
        planned += stage.minutes
        pace = (spent + STEADY) / (planned + STEADY)
        mark.write_text(signature(stage.name, words))
        for later in done.glob("*"):
            if later.name > mark.name:
                later.unlink()  # it was made from what has now been made anew
    return 0


def signature(name: str, words: Words) -> str:
    """Return what a stage's mark says: its name, and the sum of its command."""
    return f"{name} {hashlib.sha256(' '.join(words).encode()).hexdigest()}"


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.recipe", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--work", type=Path, default=Path(".model"), help="folder of all that is made on the way")
    add("--models", type=Path, default=Path("models/digits"), help="where versions are")
    add("--fonts", type=Path, default=Path(".fonts"), help="folder of the handwriting fonts")
    add("--data", type=Path, default=data.path_from_environment(), help="a local mnist.npz")
    add("--usps", type=Path, default=os.environ.get("DIGITS_USPS"), help="an .npz with x and y")
    add("--people", type=Path, help="a folder of labelled images, to report on")
    add("--list", action="store_true", help="print the stages and their minutes, and do nothing")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(argv)
    if options.data is None:
        print("name a local mnist.npz with --data or DIGITS_DATA", file=sys.stderr)
        return 2
    plan = stages(options)
    if options.list:
        for stage in plan:
            print(f"{stage.minutes:4g} min  {stage.name}")
        return 0
    for folder in ("pools", "validation"):
        (options.work / folder).mkdir(parents=True, exist_ok=True)
    code = run(plan, options.work / "done")
    if not code:
        print(f"The highest version in {options.models} is it, a candidate")
    return code


if __name__ == "__main__":
    sys.exit(main())

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
from functools import partial
from pathlib import Path

from training import export
from training.corpora import data

START = Path("models/digits/6")
SEEDS = (1, 2, 3)
ACCURATE_STEPS = ("--epochs", "4", "--batch-size", "64", "--learning-rate", "5e-4", "--keep", "0.3")
FAST_STEPS = ("--epochs", "3", "--batch-size", "128", "--learning-rate", "5e-4", "--keep", "0.3")
MEAN = "accurate-mean"
FAST_SEED = 1
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


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is made from what, and where it is put.

    Attributes:
        work: Folder of all that is made on the way.
        models: Where versions are.
        mnist: The words that name the local mnist.npz.
        fonts: Those that name the folder of handwriting fonts.
        usps: A data set to choose by, too, if there is one.
        people: A folder of labelled images to report on, if there is one.
    """

    work: Path
    models: Path
    mnist: tuple[str, ...]
    fonts: tuple[str, ...]
    usps: Path | None
    people: Path | None

    @classmethod
    def of(cls, options: argparse.Namespace) -> Recipe:
        """Return the recipe that the command line asks for."""
        mnist, fonts = ("--data", str(options.data)), ("--fonts", str(options.fonts))
        return cls(options.work, options.models, mnist, fonts, options.usps, options.people)

    def stages(self) -> list[Stage]:
        """Return the stages in order."""
        return [
            Stage("fetch fonts", lambda: ["training.corpora.fonts", "fetch", *self.fonts], 2),
            *self.pool_stages(),
            *self.held_back_stages(),
            *(
                Stage(f"accurate network, seed {seed}", partial(self.seed, seed), 4)
                for seed in SEEDS
            ),
            Stage("mean of the seeds", self.mean, 1),
            Stage("choice of the accurate network", self.accurate, 2),
            Stage("fast network", self.fast, 2),
            Stage("cascade", self.cascade, 2),
            Stage("eight bits", self.eight_bits, 1),
            Stage("reference for drift", self.reference, 1),
            *self.evaluation_stages(),
        ]

    def pool_stages(self) -> list[Stage]:
        """Return the stages that make the pools that networks learn from."""
        seeded = ("--seed", "1")
        folder = self._pools
        scenes = self._pool("scenes", folder, *self.mnist, "--count", "36000", *seeded)
        strokes = self._pool("strokes", folder, "--count", "16000", *seeded)
        fonts = self._pool("fonts", folder, *self.fonts, "--count", "12000", *seeded)
        corpora = (*self.mnist, *self.fonts)
        outliers = self._pool("outliers", folder, *corpora, "--count", "60000", *seeded)
        return [
            Stage("scenes", scenes, 3),
            Stage("strokes", strokes, 1),
            Stage("fonts", fonts, 1),
            Stage("outliers", outliers, 2),
        ]

    def held_back_stages(self) -> list[Stage]:
        """Return the stages that make what no network learns from, to choose by."""
        seeded = ("--seed", "1001")
        folder = self._validation
        fonts = (*self.fonts, "--held-back", "--count", "2400", *seeded)
        scenes = (*self.mnist, "--split", "report", "--count", "3300", *seeded)
        strokes = self._pool("strokes", folder, "--count", "3000", *seeded)
        return [
            Stage("held-back fonts", self._pool("fonts", folder, *fonts), 1),
            Stage("held-back strokes", strokes, 1),
            Stage("held-back scenes", self._pool("scenes", folder, *scenes), 1),
        ]

    def seed(self, seed: int) -> Words:
        """Return the command that trains the accurate network on, with a seed."""
        return self._gone_on("accurate", seed, *ACCURATE_STEPS)

    def mean(self) -> Words:
        """Return the command that makes the mean of the seeds' networks."""
        place = ("--runs", str(self.work / "runs" / MEAN))
        return ["training.soup", *self._runs(*self._seeded()), *place, *self.mnist]

    def accurate(self) -> Words:
        """Return the command that chooses the accurate network."""
        found = self._runs(*self._seeded(), MEAN)
        place = ("--models", str(self.work / "accurate"))
        return ["training.train", "--finish", *found, *place, *self.mnist]

    def fast(self) -> Words:
        """Return the command that trains the fast network on, to answer as the other does."""
        return self._gone_on(
            "fast", FAST_SEED, *FAST_STEPS, "--teacher", newest(self.work / "accurate")
        )

    def cascade(self) -> Words:
        """Return the command that sets the fast network before the accurate one."""
        place = ("--models", str(self.work / "versions"))
        return [
            "training.train",
            "--finish",
            *self._runs(run_name("fast", FAST_SEED)),
            *place,
            *self.mnist,
        ]

    def eight_bits(self) -> Words:
        """Return the command that makes the version that ships from the cascade."""
        place = (newest(self.work / "versions"), "--models", str(self.models))
        return ["training.quantize", *place, *self._judged(), *self.mnist]

    def reference(self) -> Words:
        """Return the command that measures the answers that drift is told against."""
        return ["training.reference", newest(self.models), *self.mnist]

    def evaluation_stages(self) -> list[Stage]:
        """Return the stages that write figures into the card, and draw."""
        report = (*self.mnist, "--per-kind", "60", "--plots", str(self.work / "plots"))
        report += ("--usps", str(self.usps)) if self.usps else ()
        plan = [Stage("evaluation, card and pictures", partial(self._evaluated, *report), 4)]
        if self.people:
            people = ("--people", str(self.people))
            plan.append(Stage("people's digits", partial(self._evaluated, *people), 1))
        return plan

    def make_folders(self) -> None:
        """Make the folders that pools are written into."""
        for folder in (self._pools, self._validation):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def _validation(self) -> Path:
        return self.work / "validation"

    @property
    def _pools(self) -> Path:
        return self.work / "pools"

    def _pool(self, name: str, folder: Path, *how: str) -> Callable[[], Words]:
        verb = ("pool",) if name == "fonts" else ()
        out = ("--out", str(folder / f"{name}.npz"))
        return lambda: [f"training.corpora.{name}", *verb, *how, *out]

    def _gone_on(self, name: str, seed: int, *how: str) -> Words:
        run = self.work / "runs" / run_name(name, seed)
        place = ("--from", str(START), "--only", name, "--run-only", "--runs", str(run))
        folder = self._pools
        learned = ["--scenes", f"{folder}/scenes.npz", "--outliers", f"{folder}/outliers.npz"]
        learned += ["--hands", f"{folder}/fonts.npz", f"{folder}/strokes.npz"]
        seeded = ("--seed", str(seed), *how)
        return ["training.train", *place, *seeded, *learned, *self._judged(), *self.mnist]

    def _judged(self) -> Words:
        files = [self._validation / f"{name}.npz" for name in ("fonts", "strokes", "scenes")]
        return ["--validation", *map(str, files), *([str(self.usps)] if self.usps else [])]

    def _seeded(self) -> Words:
        return [run_name("accurate", seed) for seed in SEEDS]

    def _runs(self, *names: str) -> Words:
        # The last of each: one that was stopped has left a run that is older.
        return [str(max((self.work / "runs" / name).iterdir())) for name in names]

    def _evaluated(self, *more: str) -> Words:
        return ["training.evaluate", "--model", newest(self.models), "--card", *more]


def run_name(name: str, seed: int) -> str:
    """Return the name of the folder of a network's runs with a seed."""
    return f"{name}-{seed}"


def newest(models: Path) -> str:
    """Return the folder of the highest version in `models`."""
    return str(models / str(export.next_version(models) - 1))


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
    recipe = Recipe.of(options)
    plan = recipe.stages()
    if options.list:
        for stage in plan:
            print(f"{stage.minutes:4g} min  {stage.name}")
        return 0
    recipe.make_folders()
    code = run(plan, options.work / "done")
    if not code:
        print(f"The highest version in {options.models} is it, a candidate")
    return code


if __name__ == "__main__":
    sys.exit(main())

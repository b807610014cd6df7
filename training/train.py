r"""Training: data, model, fit, evaluate, export.

    python -m training.train                 the plain recipe: version 1
    python -m training.train --arch mlp      the tutorial's baseline
    python -m training.train --arch slim --epochs 48 --batch-size 64 \
        --scenes scenes.npz --outliers outliers.npz
                                             a robust network; docs/training.md has the pools
    python -m training.train --arch glance --epochs 30 --teacher models/digits/<version> \
        --scenes scenes.npz --outliers outliers.npz
                                             a fast network distilled from it, and their cascade
    python -m training.train --images FOLDER --from models/digits/<version>
                                             go on from a version, to learn your own digits, too

A run of the defaults should reach about 99.6% on the 5,000 held-back training images and 99.6–99.7%
on the test set, which is opened once, at the end; the baseline reaches about 98%. Fourteen epochs
take half an hour on two cores. A run's folder under runs/ has its arguments, history, weights,
TensorBoard logs, figures and plots; the exported version is the next under models/digits/.
"""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

import keras

from app.inference.cascade import ACCURATE, FAST, SINGLE
from training import model, pretrained
from training.corpora import data
from training.corpora.own import OwnImages
from training.finish import finish
from training.fit import epochs_of, fit, pools_of
from training.runs import Arguments, new_run, resumed

CONTINUED = {"epochs": 2, "learning_rate": 1e-4}
"""Defaults where a version is trained on: few and small steps, which forget little. A hundred
digits by a hand with long-flagged ones raised the accuracy on 500 others from 93.8% to 97.6%, while
MNIST's test set went from 99.74% to 99.72%, and USPS from 99.60% to 99.55%
(`python -m benchmarks.writers`)."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(argv)
    named = {field.name for field in fields(Arguments)}
    arguments = Arguments(**{name: it for name, it in vars(options).items() if name in named})
    try:
        with interruptible():
            folder = exported(arguments, options)
    except data.DataError as error:
        print(f"{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; no version was written.", file=sys.stderr)
        return 130
    print(f"{'The run is in' if options.run_only else 'Exported to'} {folder}")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    defaults = Arguments()
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--arch", choices=sorted(model.ARCHITECTURES), default=defaults.arch)
    add("--loss", choices=["cross-entropy", "mse"], default=defaults.loss)
    add("--optimizer", choices=["sgd", "adam", "adamw"], default=defaults.optimizer)
    add("--l1", type=float, default=defaults.l1, help="weight of the kernels' absolute values")
    add("--l2", type=float, default=defaults.l2, help="weight of the kernels' squares")
    add("--epochs", type=int, default=defaults.epochs)
    add("--batch-size", type=int, default=defaults.batch_size)
    add("--learning-rate", type=float, default=defaults.learning_rate)
    add("--seed", type=int, default=defaults.seed)
    add("--scenes", default=defaults.scenes, help="a pool that training.corpora.scenes wrote")
    add("--outliers", default=defaults.outliers, help="a pool that training.corpora.outliers wrote")
    add(
        "--hands",
        nargs="+",
        default=defaults.hands,
        metavar="POOL",
        help="pools that training.corpora.fonts and training.corpora.strokes wrote",
    )
    add(
        "--validation",
        nargs="+",
        default=defaults.validation,
        metavar="FILE",
        help="digits to choose by, beside MNIST's held-back ones: pools, or data sets with x and y",
    )
    add(
        "--teacher",
        default=defaults.teacher,
        help="a version's folder, to learn from, and to ask where the new network is unsure",
    )
    add("--images", default=defaults.images, metavar="FOLDER", help="labelled images of your own")
    add(
        "--from",
        dest="source",
        default=defaults.source,
        metavar="VERSION",
        help="a version's folder, to train on with its networks; --arch is its own",
    )
    add(
        "--keep",
        type=float,
        default=defaults.keep,
        metavar="SHARE",
        help="with --from, the share of the version's weights in those that are written",
    )
    add("--only", choices=[SINGLE, FAST, ACCURATE], help="with --from, train this network alone")
    add("--run-only", action="store_true", help="with --from, write the run and no version")
    add("--data", type=Path, default=data.path_from_environment(), help="a local mnist.npz")
    add("--any-data", action="store_true", help="accept arrays that are not MNIST's")
    add("--models", type=Path, default=Path("models/digits"), help="where versions are")
    add("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    add(
        "--finish",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="train nothing; evaluate the networks of these runs, and export the best",
    )
    options = parser.parse_args(argv)
    if options.source:
        parser.set_defaults(**CONTINUED)
        return parser.parse_args(argv)
    if options.only or options.run_only or options.keep:
        parser.error("--only, --run-only and --keep are for networks that go on: name a --from")
    return options


def exported(arguments: Arguments, options: argparse.Namespace) -> Path:
    """Do what the command line asks for; return the folder of what was written.

    Raises:
        DataError: The data, or the version that is gone on from, is not as it has to be.
    """
    split = data.load(options.data, any_data=options.any_data)
    if options.finish:
        trained = {run: resumed(run) for run in options.finish}
        own = own_of(next(iter(trained.values()))[0])
        return finish(trained, split, options.models, own)
    if arguments.source:
        return continued(arguments, split, options)
    return from_scratch(arguments, split, options)


def from_scratch(arguments: Arguments, split: data.Split, options: argparse.Namespace) -> Path:
    """Train a new network, and export it; return the version's folder."""
    own = own_of(arguments)
    learned = with_own(split, own)
    keras.utils.set_random_seed(arguments.seed)
    network = model.build(arguments.arch)
    run = new_run(options.runs, arguments)
    network = fit(network, learned, arguments, run, pools_of(arguments))
    return finish({run: (arguments, network)}, split, options.models, own)


def continued(arguments: Arguments, split: data.Split, options: argparse.Namespace) -> Path:
    """Train a version on, with MNIST replayed, and export it; return the new version's folder.

    Of a cascade, the accurate network is first and a version of its own; the fast one then learns
    from it, too, or from the teacher that is named. With `--run-only` it is the run's folder.

    Raises:
        DataError: The version is no folder of networks that `training.model` has, or has not the
            one that is named; or there is none for its fast network to learn from.
    """
    source = Path(arguments.source)
    networks = pretrained.networks_of(source)
    chosen = [options.only] if options.only else list(networks)
    if not set(chosen) <= set(networks):
        raise data.DataError(f"{source} has no network {options.only!r}, but {', '.join(networks)}")
    if FAST in chosen and not arguments.teacher and (options.run_only or ACCURATE not in chosen):
        raise data.DataError("a fast network learns from an accurate one: name its --teacher")
    own = own_of(arguments)
    learned = with_own(split, own)
    pools = pools_of(arguments)
    folder = source
    for name in chosen:
        teacher = (arguments.teacher or str(folder)) if name == FAST else ""
        choice = replace(arguments, arch=networks[name], teacher=teacher)
        keras.utils.set_random_seed(arguments.seed)
        if pools is None and model.has_digit_score(model.build(networks[name])):
            pools = pretrained.pools(split.train, arguments.seed)
        examples = pretrained.examples_of(epochs_of(learned.train, pools, choice)(choice.epochs))
        network = pretrained.restore(source, name, networks[name], examples)
        run = new_run(options.runs, choice)
        network = fit(network, learned, choice, run, pools)
        if options.run_only:
            folder = run
            continue
        folder = finish({run: (choice, network)}, split, options.models, own)
        print(f"The {name} network is in {folder}")
    return folder


def own_of(arguments: Arguments) -> OwnImages | None:
    """Read your own images, if the command line names a folder of them; say what is odd there."""
    return OwnImages.read(Path(arguments.images), arguments.seed) if arguments.images else None


def with_own(split: data.Split, own: OwnImages | None) -> data.Split:
    """Return the data with your own images, if any, among what is learned."""
    return replace(split, train=own.among(split.train)) if own else split


@contextmanager
def interruptible() -> Iterator[None]:
    """Have Control-C end what runs by a KeyboardInterrupt, whatever becomes of it in TensorFlow.

    A call of TensorFlow's that it comes in the midst of may raise an error of its own instead.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, as of a shell's background jobs
        yield
        return
    pressed = False

    def press(number: int, frame: FrameType | None) -> NoReturn:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, press)
    try:
        yield
    except Exception as error:
        if pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(main())

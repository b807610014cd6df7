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
import json
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.inference.card import wilson
from app.inference.cascade import ACCURATE, FAST, SINGLE, cascade, unsure
from app.inference.classifier import Compute, Images, Scores, Thresholds
from training import calibrate, evaluate, export, model, plots, pretrained, progress, validation
from training.corpora import augment, data, mixture
from training.corpora.own import OwnImages
from training.validation import Collections

Figures = dict[str, Any]
History = list[dict[str, float]]

WEIGHTS = "model.weights.h5"
NORM_BATCHES = 100
"""Batches on which batch norms are measured again, at most."""

SOFTENING = 2.0
"""Temperature at which a teacher's probabilities are learned."""
SCORE_WEIGHT = 0.5
"""Weight of the digit score's loss beside that of the label."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The choices of the command line; saved with the run.

    One is no choice: `mean_of`, the number of runs whose weights a run of `training.soup` has the
    mean of. It is 0 of a run that was trained.
    """

    arch: str = "cnn"
    loss: str = "cross-entropy"
    optimizer: str = "adamw"
    l1: float = 0.0
    l2: float = 0.0
    epochs: int = 14
    batch_size: int = 128
    learning_rate: float = 2e-3
    seed: int = 1
    scenes: str = ""
    outliers: str = ""
    hands: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    teacher: str = ""
    images: str = ""
    source: str = ""
    keep: float = 0.0
    mean_of: int = 0


CONTINUED = {"epochs": 2, "learning_rate": 1e-4}
"""Defaults where a version is trained on: few and small steps, which forget little. A hundred
digits by a hand with long-flagged ones raised the accuracy on 500 others from 93.8% to 97.6%, while
MNIST's test set went from 99.74% to 99.72%, and USPS from 99.60% to 99.55%
(`python -m benchmarks.writers`)."""


def epoch_of(digits: data.Digits, arguments: Arguments, epoch: int) -> Any:
    """Return one epoch, shuffled: images float32 [n,28,28,1] in 0–1, labels int32 [n]."""
    size = min(arguments.batch_size, len(digits))
    steps = len(digits) // size
    order = np.random.default_rng([arguments.seed, epoch]).permutation(len(digits))
    rows = order[: steps * size].reshape(steps, size)
    seeds = np.stack([np.full(steps, arguments.seed), epoch * steps + np.arange(steps)], axis=1)
    images, labels = tf.constant(digits.images), tf.constant(digits.labels)

    def take(row: Any, seed: Any) -> tuple[Any, Any]:
        x = tf.cast(tf.gather(images, row), tf.float32)[..., None] / 255.0
        x = augment.affine(x, augment.Affine(), seed=seed)
        return x, tf.cast(tf.gather(labels, row), tf.int32)

    dataset = tf.data.Dataset.from_tensor_slices((rows, seeds.astype(np.int32)))
    return dataset.map(take).prefetch(4).with_options(mixture.untuned())


def loss_of(kind: str, labels: Any, logits: Any) -> Any:
    """Return a batch's loss [].

    It is the mean over the digits of the label's loss and, with an eleventh logit, a part of the
    mean over all images of the digit score's loss (outlier exposure, Hendrycks et al. 2019).

    Args:
        kind: "cross-entropy" or "mse".
        labels: int32 [n], −1 where the image is no digit.
        logits: [n,10] or [n,11].
    """
    is_digit = tf.cast(labels >= 0, tf.float32)
    known, label_logits = tf.maximum(labels, 0), logits[:, :10]
    if kind == "mse":
        losses = tf.reduce_sum((tf.nn.softmax(label_logits) - tf.one_hot(known, 10)) ** 2, axis=1)
    else:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(known, label_logits)
    loss = tf.reduce_sum(losses * is_digit) / tf.reduce_sum(is_digit)
    if logits.shape[1] == 10:
        return loss
    score_losses = tf.nn.sigmoid_cross_entropy_with_logits(is_digit, logits[:, 10])
    return loss + SCORE_WEIGHT * tf.reduce_mean(score_losses)


def distillation_loss(teacher: Any, images: Any, logits: Any) -> Any:
    """Return a batch's loss [] against the outputs of `teacher`.

    Softened probabilities tell which other digits an image resembles (Hinton, Vinyals and Dean
    2015, arXiv 1503.02531). They are weighted by the digit score, which is learned as it is: an
    image that is no digit has nothing to teach about digits.

    Args:
        teacher: A version's signature.
        images: float32 [n,28,28,1] in 0–1.
        logits: [n,11].
    """
    targets = teacher(images=tf.cast(tf.round(images[..., 0] * 255), tf.uint8))
    digit_score = targets["digit_score"]
    soft = tf.nn.softmax(tf.math.log(tf.maximum(targets["probabilities"], 1e-9)) / SOFTENING)
    losses = tf.nn.softmax_cross_entropy_with_logits(soft, logits[:, :10] / SOFTENING)
    score_losses = tf.nn.sigmoid_cross_entropy_with_logits(digit_score, logits[:, 10])
    label_loss = SOFTENING**2 * tf.reduce_mean(digit_score * losses)
    return label_loss + SCORE_WEIGHT * tf.reduce_mean(score_losses)


def optimizer_of(arguments: Arguments, steps: int) -> Any:
    """Return the optimizer, on a cosine schedule over `steps` steps with a short warm-up."""
    warm_up = min(200, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        arguments.learning_rate / 10,
        decay_steps=steps - warm_up,
        warmup_target=arguments.learning_rate,
        warmup_steps=warm_up,
    )
    if arguments.optimizer == "sgd":
        return keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True)
    if arguments.optimizer == "adam":
        return keras.optimizers.Adam(schedule)
    return keras.optimizers.AdamW(schedule, weight_decay=0.05)


class WeightAverage:
    """An exponential moving average of the trainable weights (Polyak and Juditsky 1992).

    It forgets faster in its first steps, so that the random start soon leaves it.
    """

    def __init__(self, network: Any, decay: float = 0.998) -> None:
        self.weights = network.trainable_variables
        self.averages = [tf.Variable(weight) for weight in self.weights]
        self.decay = decay

    def update(self, step: Any) -> None:
        """Take the weights in after step number `step`, inside the graph."""
        step = tf.cast(step, tf.float32)
        decay = tf.minimum(self.decay, (1 + step) / (10 + step))
        for average, weight in zip(self.averages, self.weights, strict=True):
            average.assign_sub((1 - decay) * (average - weight))

    def swap(self) -> None:
        """Exchange weights and averages; a second call undoes the first."""
        for average, weight in zip(self.averages, self.weights, strict=True):
            held = average.numpy()
            average.assign(weight)
            weight.assign(held)


def mix(network: Any, before: list[NDArray[np.float32]], keep: float) -> None:
    """Take `keep` of each trainable weight from before, the rest from what it has become.

    A network that went on from another forgets less so, and keeps most of what it has learned
    (Wortsman et al. 2022, arXiv 2109.01903).
    """
    for weight, was in zip(network.trainable_variables, before, strict=True):
        weight.assign(keep * was + (1 - keep) * weight)


def refresh_batch_norms(network: Any, batches: Any) -> None:
    """Measure batch-norm statistics again, on `NORM_BATCHES` of the batches.

    The old ones are not those of the averaged weights.
    """
    norms = model.batch_norms(network)
    if not norms:
        return
    momentum = norms[0].momentum
    for seen, (images, _) in enumerate(batches.take(NORM_BATCHES)):
        for norm in norms:
            norm.momentum = seen / (seen + 1)  # a plain mean over the batches
        network(images, training=True)
    for norm in norms:
        norm.momentum = momentum


def logits_of(network: Any, images: Images, size: int = 250) -> NDArray[np.float32]:
    """Return the logits float32 [n,10 or 11] of images [n,28,28], `size` of them at a time."""
    parts = [
        network(images[i : i + size, ..., None] / np.float32(255), training=False).numpy()
        for i in range(0, len(images), size)
    ]
    return np.concatenate(parts)


def accuracy(network: Any, digits: data.Digits) -> float:
    """Return the share of `digits` whose label the network finds, in 0–1."""
    labels = logits_of(network, digits.images)[:, :10].argmax(axis=1)
    return float(np.mean(labels == digits.labels))


def epochs_of(
    digits: data.Digits, pools: mixture.Pools | None, arguments: Arguments
) -> Callable[[int], Any]:
    """Return a function from an epoch's number to its batches: clean digits, or the mixture."""
    if pools is None:
        return lambda epoch: epoch_of(digits, arguments, epoch)
    return lambda epoch: mixture.epoch_of(
        digits,
        pools,
        seed=arguments.seed,
        epoch=epoch,
        batch_size=min(arguments.batch_size, len(digits)),
    )


def examples_of(batches: Any) -> Images:
    """Return about `pretrained.EXAMPLES` images uint8 [n,28,28] of an epoch's batches."""
    taken: list[Images] = []
    for images, _ in batches:
        taken.append(np.rint(images.numpy()[..., 0] * 255).astype(np.uint8))
        if sum(map(len, taken)) >= pretrained.EXAMPLES:
            break
    return np.concatenate(taken)


def pools_of(arguments: Arguments) -> mixture.Pools | None:
    """Read the pools that the command line names, if any."""
    if not arguments.scenes:
        return None
    hands = [Path(file) for file in arguments.hands]
    return mixture.read(Path(arguments.scenes), Path(arguments.outliers), hands)


def fit(
    network: Any,
    split: data.Split,
    arguments: Arguments,
    run: Path,
    pools: mixture.Pools | None,
) -> Any:
    """Train a network; after each epoch `run` has the averaged weights and the history so far."""
    epochs = epochs_of(split.train, pools, arguments)
    steps = len(split.train) // min(arguments.batch_size, len(split.train))
    optimizer = optimizer_of(arguments, steps * arguments.epochs)
    optimizer.build(network.trainable_variables)
    average = WeightAverage(network)
    teacher = tf.saved_model.load(arguments.teacher) if arguments.teacher else None
    kernels = [weight for weight in network.trainable_variables if weight.path.endswith("kernel")]
    before = [weight.numpy() for weight in network.trainable_variables]

    @tf.function  # type: ignore[untyped-decorator]
    def step(images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            loss = loss_of(arguments.loss, labels, logits)
            if teacher:
                loss += distillation_loss(teacher.signatures[SINGLE], images, logits)
            for kernel in kernels:
                loss += arguments.l1 * tf.reduce_sum(tf.abs(kernel)) if arguments.l1 else 0.0
                loss += arguments.l2 * tf.reduce_sum(kernel**2) if arguments.l2 else 0.0
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        average.update(optimizer.iterations)
        return loss

    writer = tf.summary.create_file_writer(str(run / "tensorboard"))
    altered = validation.altered(split)
    history: History = []
    for epoch in range(arguments.epochs):
        began = time.monotonic()
        title = f"epoch {epoch + 1}/{arguments.epochs}"
        losses = [float(step(*batch)) for batch in progress.bar(epochs(epoch), steps, title)]
        average.swap()
        history.append(
            {
                "epoch": epoch + 1,
                "loss": float(np.mean(losses)),
                "validation_accuracy": accuracy(network, split.validation),
                "altered_accuracy": accuracy(network, altered),
                "seconds": time.monotonic() - began,
            }
        )
        network.save_weights(run / WEIGHTS)
        average.swap()
        (run / "history.json").write_text(json.dumps(history, indent=1))
        with writer.as_default(step=epoch + 1):
            for name, value in history[-1].items():
                tf.summary.scalar(name, value)
        progress.line(title, history[-1])
    average.swap()
    mix(network, before, arguments.keep)
    refresh_batch_norms(network, epochs(arguments.epochs))
    network.save_weights(run / WEIGHTS)
    return network


def temperature_of(network: Any, held_back: Collections) -> float:
    """Fit the temperature on MNIST's held-back digits.

    A network that learned from altered digits gets it from clean and altered ones, half and half:
    fitted on clean digits alone it would be too confident elsewhere. It holds for other hands: of
    what is said at 0.9 to 0.99, 94% to 95% are right of held-back fonts and strokes.
    """
    names = [validation.MNIST, validation.ALTERED][: 1 + has_digit_score(network)]
    logits = [logits_of(network, held_back[name].images)[:, :10] for name in names]
    labels = np.concatenate([held_back[name].labels for name in names])
    return calibrate.temperature(np.concatenate(logits), labels)


def thresholds_of(card: export.Card) -> Thresholds:
    """Return the thresholds of a version's card."""
    return Thresholds(**card["thresholds"])


def on_validation(compute: Compute, thresholds: Thresholds, held_back: Collections) -> Figures:
    """Measure accuracy, calibration and acceptance on the held-back collections."""
    figures = validation.measured(compute, thresholds, held_back)
    mnist = figures[validation.MNIST]
    return {
        "validation_accuracy": mnist["accuracy"],
        "validation_altered_accuracy": figures[validation.ALTERED]["accuracy"],
        "validation_ece": mnist["ece"],
        "validation_accepted": mnist["accepted"],
        "validation": figures,
    }


@dataclass(frozen=True, slots=True)
class Candidate:
    """The classifier that will be exported."""

    compute: Compute
    thresholds: Thresholds
    cascade: export.Cascade | None = None


def single_candidate(network: Any, temperature: float, held_back: Collections) -> Candidate:
    """Return the candidate that is the network alone."""

    def compute(images: Images) -> Scores:
        return scores_of(logits_of(network, images), temperature)

    return Candidate(compute, validation.thresholds(compute, held_back))


def cascade_candidate(fast: Compute, folder: Path, held_back: Collections) -> Candidate:
    """Return the cascade of `fast` and the version in `folder`.

    The version's thresholds of acceptance stay: images that it is asked about are judged as
    before, and `fast` answers only above them.
    """
    thresholds = thresholds_of(export.read_card(folder))
    accurate = export.reader(folder)
    threshold = calibrate.cascade_threshold(
        fast,
        accurate,
        validation.sets_for_cascade(held_back),
        least=max(thresholds.digit_score, thresholds.confidence),
    )
    compute = cascade(fast, accurate, threshold)
    return Candidate(compute, thresholds, export.Cascade(folder, threshold))


def cascade_entry(fast: Compute, behind: export.Cascade, split: data.Split) -> Figures:
    """Return the card's entry about a cascade: its accurate network, and how often it is asked.

    It has that network's figures over seeds, if it was chosen among several.
    """
    card = export.read_card(behind.accurate)
    entry = {name: card[name] for name in ("version", "arch", "parameters", "multiply_adds")}
    entry |= {name: card["figures"][name] for name in ("seeds",) if name in card["figures"]}
    shares = share_unsure(fast, behind.threshold, split)
    return entry | {"threshold": behind.threshold, "share_unsure": shares}


def share_unsure(fast: Compute, threshold: float, split: data.Split) -> Figures:
    """Return the share of images that `fast` leaves to the accurate network, by data set."""
    sets = {
        "validation": split.validation,
        "altered_validation": validation.altered(split),
        "test": split.test,
    }
    return {
        name: evaluate.share(unsure(fast(digits.images), threshold))
        for name, digits in sets.items()
    }


def has_digit_score(network: Any) -> bool:
    """Tell whether the network was trained against images that are no digits."""
    return bool(network.output_shape[1] == 11)


def scores_of(logits: NDArray[np.float32], temperature: float) -> Scores:
    """Return the scores [n,11] of logits [n,10 or 11], as the exported graph computes them."""
    probabilities = calibrate.softmax(logits[:, :10] / temperature)
    has_score = logits.shape[1] == 11
    digit_score = 1 / (1 + np.exp(-logits[:, 10])) if has_score else probabilities.max(axis=1)
    return np.column_stack((probabilities, digit_score))


def card_of(network: Any, split: data.Split, arguments: Arguments, history: History) -> export.Card:
    """Return the card of a run, without the figures and thresholds that are measured after it."""
    return {
        "arch": arguments.arch,
        "parameters": network.count_params(),
        "multiply_adds": model.multiply_adds(network),
        "training": {
            "arguments": asdict(arguments)
            | {
                name: Path(getattr(arguments, name)).name
                for name in ("scenes", "outliers", "teacher", "images", "source")
            }
            | {
                name: [Path(file).name for file in getattr(arguments, name)]
                for name in ("hands", "validation")
            },
            "seconds": round(sum(entry["seconds"] for entry in history)),
            "images": len(split.train),
            "held_back": len(split.validation),
            "sha256": split.sha256,
        },
        "digit_score": "an output trained against what is no digit"
        if has_digit_score(network)
        else "the calibrated probability of the answer: nothing was trained to say no",
        "libraries": {name: version(name) for name in ("keras", "numpy", "opencv-python-headless")}
        | {"tensorflow": tf.__version__, "python": platform.python_version()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def finish(
    trained: dict[Path, tuple[Arguments, Any]],
    split: data.Split,
    models: Path,
    own: OwnImages | None,
) -> Path:
    """Choose, calibrate, open the test set, draw and export; return the version's folder.

    Of several runs, which should differ by their seeds alone or be the mean of those, the best on
    held-back digits is exported; its card has the mean and spread over the seeds.
    """
    held_back = held_back_of(next(iter(trained.values()))[0], split)
    run = max(trained, key=lambda run: validation_score(trained[run][1], held_back))
    arguments, network = trained[run]
    history = json.loads((run / "history.json").read_text())
    temperature = temperature_of(network, held_back)
    fast = candidate = single_candidate(network, temperature, held_back)
    if arguments.teacher:
        candidate = cascade_candidate(fast.compute, Path(arguments.teacher), held_back)
    figures = on_validation(candidate.compute, candidate.thresholds, held_back)
    answers = evaluate.judge(candidate.compute(split.test.images), candidate.thresholds)
    figures |= {"temperature": round(temperature, 4)} | evaluate.of_answers(answers, split.test)
    seeds = [each for choice, each in trained.values() if not choice.mean_of]
    if len(seeds) > 1:
        figures["seeds"] = over_seeds(seeds, split.test)
    card = card_of(network, split, arguments, history)
    if candidate.cascade:
        card["cascade"] = cascade_entry(fast.compute, candidate.cascade, split)
    if own:
        card["own_images"] = on_own(own, candidate.compute, arguments)
    card |= {"figures": figures, "thresholds": asdict(candidate.thresholds)}
    (run / "card.json").write_text(json.dumps(card, indent=2))
    plots.learning_curves(history, run / "learning.png")
    evaluate.pictures(split.test, answers, run)
    print(f"Pictures of the run are in {run}")
    low, high = wilson(int((answers.labels == split.test.labels).sum()), len(split.test))
    print(f"Test accuracy: {figures['test_accuracy']:.4f}, 95% interval {low:.4f} to {high:.4f}")
    return export.export(network, temperature, card, models, candidate.cascade).folder


def on_own(own: OwnImages, compute: Compute, arguments: Arguments) -> Figures:
    """Measure your own held-back images, before and after where a version was trained on."""
    figures: Figures = {"learned": len(own.learned), "held_back": len(own.held_back)}
    figures["accuracy"] = own_accuracy(own, compute)
    if arguments.source:
        figures["accuracy_before"] = own_accuracy(own, export.reader(Path(arguments.source)))
    for name, value in figures.items():
        print(f"Your own images, {name.replace('_', ' ')}: {value}")
    return figures


def own_accuracy(own: OwnImages, compute: Compute) -> float:
    """Return the share of your own held-back images whose label `compute` finds."""
    labels = compute(own.held_back.images)[:, :10].argmax(axis=1)
    return evaluate.share(labels == own.held_back.labels)


def validation_score(network: Any, held_back: Collections) -> float:
    """Return the mean accuracy over the held-back collections, to compare runs."""
    return float(np.mean([accuracy(network, digits) for digits in held_back.values()]))


def held_back_of(arguments: Arguments, split: data.Split) -> Collections:
    """Return the collections that a run is judged by."""
    return validation.collections(split, [Path(file) for file in arguments.validation])


def over_seeds(networks: list[Any], test: data.Digits) -> Figures:
    """Measure the test accuracy of networks that differ by their seeds."""
    accuracies = [accuracy(network, test) for network in networks]
    return {
        "runs": len(accuracies),
        "test_accuracies": [round(accuracy, 6) for accuracy in accuracies],
        "test_accuracy_mean": round(float(np.mean(accuracies)), 6),
        "test_accuracy_spread": round(float(np.std(accuracies, ddof=1)), 6),
    }


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
        help="a version's folder, to train on with its networks; --arch and --teacher are its own",
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
    parser.set_defaults(mean_of=defaults.mean_of)
    if parser.parse_args(argv).source:
        parser.set_defaults(**CONTINUED)
    return parser.parse_args(argv)


def new_run(runs: Path, arguments: Arguments) -> Path:
    """Create a folder for this run, and write its arguments there."""
    run = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{arguments.arch}-{arguments.seed}"
    run.mkdir(parents=True)
    (run / "arguments.json").write_text(json.dumps(asdict(arguments), indent=1))
    print(f"The run is in {run}; tensorboard --logdir {runs}", flush=True)
    return run


def resumed(run: Path) -> tuple[Arguments, Any]:
    """Return the arguments of `run`, and the network that it trained."""
    arguments = Arguments(**json.loads((run / "arguments.json").read_text()))
    network = model.build(arguments.arch)
    network.load_weights(run / WEIGHTS)
    return arguments, network


def own_of(arguments: Arguments) -> OwnImages | None:
    """Read your own images, if the command line names a folder of them; say what is odd there."""
    return OwnImages.read(Path(arguments.images), arguments.seed) if arguments.images else None


def from_scratch(arguments: Arguments, split: data.Split, options: argparse.Namespace) -> Path:
    """Train a new network, and export it; return the version's folder."""
    own = own_of(arguments)
    learned = replace(split, train=own.among(split.train)) if own else split
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
        DataError: The version is no folder of networks that `training.model` has.
    """
    own = own_of(arguments)
    learned = replace(split, train=own.among(split.train)) if own else split
    source = Path(arguments.source)
    networks = pretrained.networks_of(source)
    pools = pools_of(arguments)
    folder = source
    for name in networks:
        if options.only and name != options.only:
            continue
        teacher = (arguments.teacher or str(folder)) if name == FAST else ""
        choice = replace(arguments, arch=networks[name], teacher=teacher)
        keras.utils.set_random_seed(arguments.seed)
        if pools is None and has_digit_score(model.build(networks[name])):
            pools = pretrained.pools(split.train, arguments.seed)
        examples = examples_of(epochs_of(learned.train, pools, choice)(choice.epochs))
        network = pretrained.restore(source, name, networks[name], examples)
        run = new_run(options.runs, choice)
        network = fit(network, learned, choice, run, pools)
        if options.run_only:
            folder = run
            continue
        folder = finish({run: (choice, network)}, split, options.models, own)
        print(f"The {name} network is in {folder}")
    return folder


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


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(argv)
    arguments = Arguments(
        **{field.name: getattr(options, field.name) for field in fields(Arguments)}
    )
    try:
        with interruptible():
            folder = exported(arguments, options)
    except data.DataError as error:
        print(f"{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; no version was written.", file=sys.stderr)
        return 130
    print(f"Exported to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

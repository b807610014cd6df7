"""Train a digit classifier on MNIST: data, model, train, evaluate, export.

    python -m training.train                 the network that ships as version 1
    python -m training.train --arch mlp      the tutorial's baseline
    python -m training.train --arch slim --epochs 48 --batch-size 64 \\
        --scenes scenes.npz --outliers outliers.npz
                                             version 2's network; the README has the
                                             pools and what follows
    python -m training.train --arch glance --epochs 30 --teacher models/digits/2 \\
        --scenes scenes.npz --outliers outliers.npz
                                             a quick one ahead of it: what ships

A run of the defaults should reach, on the 5,000 held-back training images, about 99.6%, and
on the test set, opened once at the end, 99.6–99.7%; the baseline reaches about 98%. Fourteen
epochs are half an hour on two cores. Everything of a run is in its folder under runs/:
arguments, history, weights, TensorBoard logs, figures, pictures; the exported version is in
the next free folder under models/digits/.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training import calibrate, cascade, evaluate, export, model, plots, progress
from training.corpora import augment, corruptions, data, mixture

Figures = dict[str, Any]
History = list[dict[str, float]]
Thresholds = dict[str, float]

WEIGHTS = "model.weights.h5"


@dataclass(frozen=True, slots=True)
class Arguments:
    """What can be chosen on the command line; saved with the run."""

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
    teacher: str = ""


def epoch_of(digits: data.Digits, how: Arguments, epoch: int) -> Any:
    """A dataset of one pass, in its own order: float32 [n,28,28,1] in 0–1, int32 [n]."""
    size = min(how.batch_size, len(digits))
    steps = len(digits) // size
    order = np.random.default_rng([how.seed, epoch]).permutation(len(digits))
    rows = order[: steps * size].reshape(steps, size)
    seeds = np.stack([np.full(steps, how.seed), epoch * steps + np.arange(steps)], axis=1)
    images, labels = tf.constant(digits.images), tf.constant(digits.labels)

    def take(row: Any, seed: Any) -> tuple[Any, Any]:
        x = tf.cast(tf.gather(images, row), tf.float32)[..., None] / 255.0
        x = augment.affine(x, augment.Affine(), seed=seed)
        return x, tf.cast(tf.gather(labels, row), tf.int32)

    dataset = tf.data.Dataset.from_tensor_slices((rows, seeds.astype(np.int32)))
    return dataset.map(take).prefetch(4).with_options(mixture.untuned())


def loss_of(kind: str, labels: Any, logits: Any) -> Any:
    """Loss of a batch: labels int32 [n], −1 where there is no digit, logits [n,10 or 11] → [].

    The mean over the digits of how wrong the answer is and, with an eleventh logit, a part of
    the mean over all of how wrong it is about there being a digit (Hendrycks et al. 2019,
    outlier exposure).
    """
    digit = tf.cast(labels >= 0, tf.float32)
    known, answers = tf.maximum(labels, 0), logits[:, :10]
    if kind == "mse":
        wrong = tf.reduce_sum((tf.nn.softmax(answers) - tf.one_hot(known, 10)) ** 2, axis=1)
    else:
        wrong = tf.nn.sparse_softmax_cross_entropy_with_logits(known, answers)
    loss = tf.reduce_sum(wrong * digit) / tf.reduce_sum(digit)
    if logits.shape[1] == 10:
        return loss
    doubt = tf.nn.sigmoid_cross_entropy_with_logits(digit, logits[:, 10])
    return loss + 0.3 * tf.reduce_mean(doubt)


SOFTENING = 2.0  # temperature at which a teacher's answers are learnt


def taught(teacher: Any, images: Any, logits: Any) -> Any:
    """Loss of a batch against what `teacher`, a version's signature, answers to it: images float32
    [n,28,28,1] in 0–1, logits [n,11] → [].

    Softened answers tell which digits an image also looks like (Hinton, Vinyals and Dean 2015,
    arXiv 1503.02531); how much it looks like one at all is learnt as it is.
    """
    said = teacher(images=tf.cast(tf.round(images[..., 0] * 255), tf.uint8))
    known = tf.math.log(tf.maximum(said["probabilities"], 1e-9))
    soft = tf.nn.softmax(known / SOFTENING)
    wrong = tf.nn.softmax_cross_entropy_with_logits(soft, logits[:, :10] / SOFTENING)
    doubt = tf.nn.sigmoid_cross_entropy_with_logits(said["digit_score"], logits[:, 10])
    sure = said["digit_score"]  # of what is no digit, nothing is to be learnt about digits
    return SOFTENING**2 * tf.reduce_mean(sure * wrong) + 0.3 * tf.reduce_mean(doubt)


def optimizer_of(how: Arguments, steps: int) -> Any:
    """The optimizer on a cosine schedule with a short warm-up, over `steps` steps."""
    warm_up = min(200, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        how.learning_rate / 10,
        decay_steps=steps - warm_up,
        warmup_target=how.learning_rate,
        warmup_steps=warm_up,
    )
    if how.optimizer == "sgd":
        return keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True)
    if how.optimizer == "adam":
        return keras.optimizers.Adam(schedule)
    return keras.optimizers.AdamW(schedule, weight_decay=0.05)


class Average:
    """An exponential moving average of the trainable weights (Polyak and Juditsky 1992).

    Young averages forget faster, so that the random start is not in them for long.
    """

    def __init__(self, network: Any, decay: float = 0.998) -> None:
        self.weights = network.trainable_variables
        self.averages = [tf.Variable(weight) for weight in self.weights]
        self.decay = decay

    def update(self, step: Any) -> None:
        """After each step, inside the graph."""
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


def refresh_batch_norms(network: Any, batches: Any) -> None:
    """Measure batch-norm statistics anew: the averaged weights never ran with the old ones."""
    norms = model.batch_norms(network)
    if not norms:
        return
    momentum = norms[0].momentum
    for seen, (images, _) in enumerate(batches):
        for norm in norms:
            norm.momentum = seen / (seen + 1)  # a plain mean over the batches
        network(images, training=True)
    for norm in norms:
        norm.momentum = momentum


def logits_of(network: Any, images: NDArray[np.uint8], size: int = 250) -> NDArray[np.float32]:
    """Inference: uint8 [n,28,28] → logits float32 [n,10 or 11]."""
    parts = [
        network(images[i : i + size, ..., None] / np.float32(255), training=False).numpy()
        for i in range(0, len(images), size)
    ]
    return np.concatenate(parts)


def accuracy(network: Any, digits: data.Digits) -> float:
    answers = logits_of(network, digits.images)[:, :10].argmax(axis=1)
    return float(np.mean(answers == digits.labels))


def epochs_of(split: data.Split, how: Arguments) -> Callable[[int], Any]:
    """How to get at the batches of each epoch: clean digits alone, or the whole mixture."""
    if not how.scenes:
        return lambda epoch: epoch_of(split.train, how, epoch)
    pools = mixture.read(Path(how.scenes), Path(how.outliers))
    return lambda epoch: mixture.epoch_of(
        split.train, pools, seed=how.seed, epoch=epoch, batch_size=how.batch_size
    )


def fit(split: data.Split, how: Arguments, run: Path) -> Any:
    """Train; after each epoch `run` holds the averaged weights and the history so far."""
    keras.utils.set_random_seed(how.seed)
    network = model.build(how.arch)
    epochs = epochs_of(split, how)
    steps = len(split.train) // min(how.batch_size, len(split.train))
    optimizer = optimizer_of(how, steps * how.epochs)
    optimizer.build(network.trainable_variables)
    average = Average(network)
    teacher = tf.saved_model.load(how.teacher) if how.teacher else None
    kernels = [weight for weight in network.trainable_variables if weight.path.endswith("kernel")]

    @tf.function  # type: ignore[untyped-decorator]
    def step(images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            loss = loss_of(how.loss, labels, logits)
            if teacher:
                loss += taught(teacher.signatures["serving_default"], images, logits)
            for kernel in kernels:
                loss += how.l1 * tf.reduce_sum(tf.abs(kernel)) if how.l1 else 0.0
                loss += how.l2 * tf.reduce_sum(kernel**2) if how.l2 else 0.0
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        average.update(optimizer.iterations)
        return loss

    writer = tf.summary.create_file_writer(str(run / "tensorboard"))
    altered = altered_validation(split)
    history: History = []
    for epoch in range(how.epochs):
        began = time.monotonic()
        title = f"epoch {epoch + 1}/{how.epochs}"
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
    refresh_batch_norms(network, epochs(how.epochs).take(100))
    network.save_weights(run / WEIGHTS)
    return network


def altered_validation(split: data.Split) -> data.Digits:
    """The held-back digits again, each altered in one of the ways of `corruptions`."""
    images = corruptions.some(split.validation.images, np.random.default_rng(0))
    return data.Digits(images, split.validation.labels)


def temperature_of(network: Any, split: data.Split) -> float:
    """From the held-back training images.

    A network that learnt from altered digits gets its temperature from clean and altered
    ones, half and half: fitted on clean digits alone it would be too sure of the others.
    """
    labels = split.validation.labels
    logits = logits_of(network, split.validation.images)
    if not knows_digits(network):
        return calibrate.temperature(logits, labels)
    altered = logits_of(network, altered_validation(split).images)
    both = np.concatenate([logits, altered])[:, :10]
    return calibrate.temperature(both, np.concatenate([labels, labels]))


def thresholds_for(read: cascade.Reader, split: data.Split) -> Thresholds:
    """From where on an answer is accepted, by the held-back training images."""
    probabilities, score = read(split.validation.images)
    return {
        "digit_score": calibrate.threshold(score, accepted=0.9975),
        "confidence": calibrate.threshold(probabilities.max(axis=1), accepted=0.995),
    }


def on_validation(read: cascade.Reader, thresholds: Thresholds, split: data.Split) -> Figures:
    labels = split.validation.labels
    probabilities, score = read(split.validation.images)
    altered, _ = read(altered_validation(split).images)
    accepted = evaluate.accepted(probabilities, score, thresholds)
    return {
        "validation_accuracy": evaluate.share(probabilities.argmax(axis=1) == labels),
        "validation_altered_accuracy": evaluate.share(altered.argmax(axis=1) == labels),
        "validation_ece": round(calibrate.reliability(probabilities, labels).ece, 6),
        "validation_accepted": evaluate.share(accepted),
    }


@dataclass(frozen=True, slots=True)
class Reading:
    """How images are read by what is exported, and from where on it is accepted."""

    read: cascade.Reader
    thresholds: Thresholds
    careful: export.Careful | None = None


def alone(network: Any, temperature: float, split: data.Split) -> Reading:
    def read(images: NDArray[np.uint8]) -> cascade.Answer:
        return outputs(logits_of(network, images), temperature)

    return Reading(read, thresholds_for(read, split))


def ahead_of(folder: Path, quick: cascade.Reader, split: data.Split) -> Reading:
    """`quick` ahead of the version in `folder`, whose thresholds stay: what it is asked is judged
    as it was, and where the quick one is sure is above them.
    """
    thresholds: Thresholds = _card(folder)["thresholds"]
    careful = export.reader(folder)
    held_back = split.validation, altered_validation(split)
    sure = cascade.enough(quick, careful, held_back, least=max(thresholds.values()))
    return Reading(cascade.both(quick, careful, sure), thresholds, export.Careful(folder, sure))


def _card(folder: Path) -> export.Card:
    card: export.Card = json.loads((folder / "model_card.json").read_text())
    return card


def asked_again(quick: cascade.Reader, careful: export.Careful, split: data.Split) -> Figures:
    """What the card says of the careful version, and how often it is asked."""
    card = _card(careful.folder)
    known = {name: card[name] for name in ("version", "arch", "parameters", "multiply_adds")}
    shares = shares_asked(quick, careful.sure, split)
    return known | {"asked_below": careful.sure, "asked_again": shares}


def shares_asked(quick: cascade.Reader, sure: float, split: data.Split) -> Figures:
    sets = {
        "validation": split.validation,
        "altered_validation": altered_validation(split),
        "test": split.test,
    }
    return {
        name: evaluate.share(cascade.surety_of(quick(one.images)) < sure)
        for name, one in sets.items()
    }


def knows_digits(network: Any) -> bool:
    """Has it learnt what is no digit?"""
    return bool(network.output_shape[1] == 11)


def outputs(logits: NDArray[np.float32], temperature: float) -> cascade.Answer:
    """Logits [n,10 or 11] → probabilities [n,10] and digit_score [n], as the export has them."""
    probabilities = calibrate.softmax(logits[:, :10] / temperature)
    if logits.shape[1] == 11:
        return probabilities, 1 / (1 + np.exp(-logits[:, 10]))
    return probabilities, probabilities.max(axis=1)


def card_of(network: Any, split: data.Split, how: Arguments, history: History) -> export.Card:
    """What there is to say about a run, but for what is measured after it."""
    return {
        "arch": how.arch,
        "parameters": network.count_params(),
        "multiply_adds": model.multiply_adds(network),
        "training": {
            "arguments": asdict(how)
            | {name: Path(getattr(how, name)).name for name in ("scenes", "outliers", "teacher")},
            "seconds": round(sum(entry["seconds"] for entry in history)),
            "images": len(split.train),
            "held_back": len(split.validation),
            "sha256": split.sha256,
        },
        "digit_score": "an output trained against what is no digit"
        if knows_digits(network)
        else "the calibrated probability of the answer: nothing was trained to say no",
        "libraries": {name: version(name) for name in ("keras", "numpy", "opencv-python-headless")}
        | {"tensorflow": tf.__version__, "python": platform.python_version()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def finish(trained: dict[Path, tuple[Arguments, Any]], split: data.Split, models: Path) -> Path:
    """Choose, calibrate, open the test set, export, draw: the version's folder.

    Of several runs, which should differ by their seeds alone, the best on held-back digits is
    exported, and its card has the mean and spread of all of them.
    """
    run = max(trained, key=lambda run: standing(trained[run][1], split))
    how, network = trained[run]
    history = json.loads((run / "history.json").read_text())
    temperature = temperature_of(network, split)
    quick = reading = alone(network, temperature, split)
    if how.teacher:
        reading = ahead_of(Path(how.teacher), quick.read, split)
    figures = on_validation(reading.read, reading.thresholds, split)
    answers = evaluate.answers_of(reading.read(split.test.images), reading.thresholds)
    figures |= {"temperature": round(temperature, 4)} | evaluate.of_answers(answers, split.test)
    if len(trained) > 1:
        figures["seeds"] = over_seeds([other for _, other in trained.values()], split.test)
    card = card_of(network, split, how, history)
    if reading.careful:
        card["careful"] = asked_again(quick.read, reading.careful, split)
    card |= {"figures": figures, "thresholds": reading.thresholds}
    (run / "card.json").write_text(json.dumps(card, indent=2))
    plots.learning_curves(history, run / "learning.png")
    evaluate.pictures(split.test, answers, run)
    print(f"Test accuracy: {figures['test_accuracy']:.4f}")
    return export.export(network, temperature, card, models, reading.careful).folder


def standing(network: Any, split: data.Split) -> float:
    """What a choice between runs goes by: accuracy on held-back digits, clean and altered."""
    return accuracy(network, split.validation) + accuracy(network, altered_validation(split))


def over_seeds(networks: list[Any], test: data.Digits) -> Figures:
    accuracies = [accuracy(network, test) for network in networks]
    return {
        "runs": len(accuracies),
        "test_accuracies": [round(one, 6) for one in accuracies],
        "test_accuracy_mean": round(float(np.mean(accuracies)), 6),
        "test_accuracy_spread": round(float(np.std(accuracies, ddof=1)), 6),
    }


def parse(argv: list[str] | None) -> argparse.Namespace:
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
    add("--teacher", default=defaults.teacher, help="a version's folder, to learn from and to ask")
    add("--data", type=Path, default=data.path_from_environment(), help="a local mnist.npz")
    add("--any-data", action="store_true", help="accept arrays that are not MNIST's")
    add("--models", type=Path, default=Path("models/digits"), help="where versions are")
    add("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    add(
        "--finish",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="train nothing; evaluate what RUN trained, or several, and export the best of them",
    )
    return parser.parse_args(argv)


def new_run(runs: Path, how: Arguments) -> Path:
    """A folder of its own for this run, with its arguments in it."""
    run = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{how.arch}-{how.seed}"
    run.mkdir(parents=True)
    (run / "arguments.json").write_text(json.dumps(asdict(how), indent=1))
    return run


def resumed(run: Path) -> tuple[Arguments, Any]:
    """What `run` was asked for, and the network it trained."""
    how = Arguments(**json.loads((run / "arguments.json").read_text()))
    network = model.build(how.arch)
    network.load_weights(run / WEIGHTS)
    return how, network


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    how = Arguments(**{field.name: getattr(options, field.name) for field in fields(Arguments)})
    try:
        split = data.load(options.data, any_data=options.any_data)
        if options.finish:
            trained = {run: resumed(run) for run in options.finish}
        else:
            run = new_run(options.runs, how)
            trained = {run: (how, fit(split, how, run))}
        folder = finish(trained, split, options.models)
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

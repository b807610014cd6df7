"""Fitting a network: epochs, losses, optimizer, the average of its weights."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.inference.cascade import SINGLE
from training import model, progress, validation
from training.corpora import augment, data, mixture
from training.runs import WEIGHTS, Arguments, History, write_history

NORM_BATCHES = 100
"""Batches on which batch norms are measured again, at most."""

SOFTENING = 2.0
"""Temperature at which a teacher's probabilities are learned."""
SCORE_WEIGHT = 0.5
"""Weight of the digit score's loss beside that of the label."""


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


def pools_of(arguments: Arguments) -> mixture.Pools | None:
    """Read the pools that the command line names, if any."""
    if not arguments.scenes:
        return None
    hands = [Path(file) for file in arguments.hands]
    return mixture.read(Path(arguments.scenes), Path(arguments.outliers), hands)


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


def step_of(network: Any, arguments: Arguments, steps: int, average: WeightAverage) -> Any:
    """Return what one of `steps` steps does: from images [n,28,28,1] and labels [n] to the loss."""
    optimizer = optimizer_of(arguments, steps)
    optimizer.build(network.trainable_variables)
    teacher = tf.saved_model.load(arguments.teacher) if arguments.teacher else None
    kernels = [weight for weight in network.trainable_variables if weight.path.endswith("kernel")]

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

    return step


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
    average = WeightAverage(network)
    step = step_of(network, arguments, steps * arguments.epochs, average)
    before = [weight.numpy() for weight in network.trainable_variables]
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
                "validation_accuracy": model.accuracy(network, split.validation),
                "altered_accuracy": model.accuracy(network, altered),
                "seconds": time.monotonic() - began,
            }
        )
        network.save_weights(run / WEIGHTS)
        average.swap()
        write_history(run, history)
        with writer.as_default(step=epoch + 1):
            for name, value in history[-1].items():
                tf.summary.scalar(name, value)
        progress.line(title, history[-1])
    average.swap()
    mix(network, before, arguments.keep)
    refresh_batch_norms(network, epochs(arguments.epochs))
    network.save_weights(run / WEIGHTS)
    return network

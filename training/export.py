"""A trained network → a version folder that serving can load, and nothing less than that.

    models/digits/<integer>/
        saved_model.pb, variables/, fingerprint.pb    signature serving_default
        assets.extra/*.tflite     the same, or its halves, as TensorFlow Lite runs them
        assets.extra/golden.npz   what these answer, if that is not quite the same: in eight bits
        model_card.json   what it was trained on and how, every measured figure, thresholds
        golden.npz        drawn inputs and what this model answers to them
        manifest.json     SHA-256 of every other file

The signature takes images uint8 [n,28,28] and answers probabilities float32 [n,10] and
digit_score float32 [n]. Scaling, batch norm, temperature and softmax are in the graph, and
the weights are constants in it: nothing to restore when it loads, nothing to get wrong.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training import cascade

Card = dict[str, Any]
Answer = dict[str, Any]
"""Tensors by their names in the signature: probabilities [n,10], digit_score [n]."""
IMAGES = [tf.TensorSpec([None, 28, 28], tf.uint8, name="images")]

CLEARANCE = 0.005
"""Golden inputs are not as near as this to where a careful network is asked: its answer differs."""


@dataclass(frozen=True, slots=True)
class Version:
    """A folder under models/digits."""

    number: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Careful:
    """Whom a network leaves to answer what it is not `sure` enough of: a version's folder."""

    folder: Path
    sure: float
    """From here on, both the greatest probability and the digit score, its own answer stands."""


def export(
    network: Any, temperature: float, card: Card, models: Path, careful: Careful | None = None
) -> Version:
    """Write the next version of `network` under `models`; all of it, or, if stopped, nothing.

    `card` lacks only name and version.

    Raises:
        OSError: `models` can't be written.
    """
    with drafted(models) as draft:
        classifier = save(network, temperature, draft, careful)
        images = golden_images()
        clear = images[classifier.is_clear_cut(images)]
        write_golden(draft / "golden.npz", clear, reader(draft))
        write_compiled(draft)
        return published(draft, models, {"name": "digits", **card})


@contextmanager
def drafted(models: Path) -> Iterator[Path]:
    """A new folder under `models` that no server looks at, gone afterwards unless published."""
    models.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=models))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def published(draft: Path, models: Path, card: Card) -> Version:
    """The draft as the next version, which is the card's then, too."""
    number = next_version(models)
    write_card(draft, card | {"version": str(number)})
    draft.chmod(0o755)
    draft.rename(models / str(number))
    return Version(number, models / str(number))


def next_version(models: Path) -> int:
    taken = [int(folder.name) for folder in models.iterdir() if folder.name.isdecimal()]
    return max(taken, default=0) + 1


def save(
    network: Any, temperature: float, folder: Path, careful: Careful | None = None
) -> "Classifier":
    """Write the SavedModel alone. Of a cascade, its two halves are signatures, too."""
    classifier = Classifier(network, temperature, careful)
    signatures = {"serving_default": classifier.answer}
    if careful:
        signatures |= {"quick": classifier.quick, "careful": classifier.careful}
    tf.saved_model.save(classifier, str(folder), signatures=signatures)
    return classifier


class Classifier(tf.Module):  # type: ignore[misc]
    """What is served: a network with constant weights between scaling and softmax, and behind it,
    for the images that it is not sure of, a careful one: a cascade (Viola and Jones 2001; of
    networks, Bolukbasi et al. 2017, arXiv 1702.07811).
    """

    def __init__(self, network: Any, temperature: float, careful: Careful | None = None) -> None:
        super().__init__()
        self._steps = frozen(network)
        self._temperature = temperature
        self._sure = careful.sure if careful else 0.0
        self.careful: Any = None
        if careful:
            self._behind = tf.saved_model.load(str(careful.folder)).signatures["serving_default"]
            self.careful = tf.function(
                lambda images: self._behind(images=images), input_signature=IMAGES
            )

    @tf.function(input_signature=IMAGES)  # type: ignore[untyped-decorator]
    def answer(self, images: Any) -> Answer:
        first = self.quick(images)
        if not self.careful:
            return first  # type: ignore[no-any-return]
        best = tf.reduce_max(first["probabilities"], axis=1)
        unsure = tf.where(tf.minimum(best, first["digit_score"]) < self._sure)  # [k,1], where
        answer: Answer = tf.cond(
            tf.size(unsure) > 0,  # some processors' kernels refuse an empty batch
            lambda: self._look_again(images, unsure, first),
            lambda: first,
        )
        return answer

    @tf.function(input_signature=IMAGES)  # type: ignore[untyped-decorator]
    def quick(self, images: Any) -> Answer:
        """The network's own answer."""
        x = tf.cast(images, tf.float32)[..., None] / 255.0  # [n,28,28,1] in 0–1
        for step in self._steps:
            x = step(x)
        probabilities = tf.nn.softmax(x[:, :10] / self._temperature)
        trained = x.shape[1] == 11
        score = tf.sigmoid(x[:, 10]) if trained else tf.reduce_max(probabilities, 1)
        return {"probabilities": probabilities, "digit_score": score}

    def is_clear_cut(self, images: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """[n]: would the same network answer on a processor that sums in another order?"""
        first = self.quick(tf.constant(images))
        names = "probabilities", "digit_score"
        surety = cascade.surety_of([first[name].numpy() for name in names])
        clear: NDArray[np.bool_] = np.abs(surety - self._sure) > CLEARANCE
        return clear

    def _look_again(self, images: Any, unsure: Any, first: Answer) -> Answer:
        said = self.careful(tf.gather_nd(images, unsure))
        return {
            name: tf.tensor_scatter_nd_update(first[name], unsure, said[name]) for name in first
        }


Step = Callable[[Any], Any]


def frozen(network: Any) -> list[Step]:
    """The layers of a plain stack as functions of constants, each batch norm in its convolution.

    Raises:
        ValueError: a layer of a kind that `training.model` does not use.
    """
    steps: list[Step] = []
    layers = network.layers
    for layer, after in zip(layers, [*layers[1:], None], strict=True):
        match layer:
            case keras.layers.Conv2D():
                steps.append(_conv(layer, *_folded(layer, after)))
            case keras.layers.Dense():
                steps.append(_dense(layer))
            case keras.layers.ReLU():
                steps.append(tf.nn.relu)
            case keras.layers.Flatten():
                steps.append(lambda x: tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]]))
            case keras.layers.GlobalAveragePooling2D():
                steps.append(lambda x: tf.reduce_mean(x, axis=[1, 2]))
            case keras.layers.InputLayer() | keras.layers.Dropout():
                pass
            case keras.layers.BatchNormalization():
                pass
            case _:
                raise ValueError(f"no way to freeze {type(layer).__name__}")
    return steps


def _folded(conv: Any, norm: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    gain = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    return conv.kernel.numpy() * gain, norm.beta.numpy() - norm.moving_mean.numpy() * gain


def _conv(layer: Any, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> Step:
    strides, padding = layer.strides, layer.padding.upper()
    return lambda x: tf.nn.bias_add(tf.nn.conv2d(x, kernel, strides, padding), bias)


def _dense(layer: Any) -> Step:
    kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
    activate = layer.activation
    return lambda x: activate(tf.matmul(x, kernel) + bias)


def load(folder: Path) -> Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]:
    """The signature of a version: uint8 [n,28,28] → probabilities [n,10], digit_score [n]."""
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]

    def answer(images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        return {name: value.numpy() for name, value in signature(images=images).items()}

    return answer


def reader(folder: Path, size: int = 250) -> cascade.Reader:
    """A version, asked `size` images at a time."""
    answer = load(folder)

    def read(images: NDArray[np.uint8]) -> cascade.Answer:
        parts = [answer(images[i : i + size]) for i in range(0, len(images), size)]
        return (
            np.concatenate([part["probabilities"] for part in parts]),
            np.concatenate([part["digit_score"] for part in parts]),
        )

    return read


def write_golden(file: Path, images: NDArray[np.uint8], read: cascade.Reader) -> None:
    """Keep the golden inputs, and what is answered to them."""
    probabilities, score = read(images)
    np.savez(file, images=images, probabilities=probabilities, digit_score=score)


Convert = Callable[[Path, str], bytes]
"""The name of a signature of the saved model in a folder → the same for TensorFlow Lite."""


def in_float(folder: Path, name: str) -> bytes:
    converted: bytes = tf.lite.TFLiteConverter.from_saved_model(str(folder), [name]).convert()
    return converted


def write_compiled(folder: Path, convert: Convert = in_float) -> None:
    """Convert the signature of a saved model, or, of a cascade, its halves: TensorFlow Lite has no
    condition on how many images there are."""
    signatures = tf.saved_model.load(str(folder)).signatures.keys()
    extra = folder / "assets.extra"
    extra.mkdir(exist_ok=True)
    for name in {"quick", "careful"} & signatures or {"serving_default"}:
        (extra / f"{name}.tflite").write_bytes(convert(folder, name))


def write_card(folder: Path, card: Card) -> None:
    """Write the card, then the manifest over everything in `folder`. The card says which graph
    was compiled: another one beside its programs would not be what they run."""
    if (folder / "assets.extra").exists():
        card = card | {"compiled_from": sha256(folder / "saved_model.pb")}
    text = json.dumps(card, indent=2, ensure_ascii=False)
    (folder / "model_card.json").write_text(text + "\n", encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in files
        if path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps({"files": sums}, indent=2) + "\n")


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


STROKES: dict[str, list[list[tuple[int, int]]]] = {
    "0": [[(14, 5), (9, 8), (8, 15), (10, 21), (14, 23), (18, 21), (20, 14), (18, 7), (14, 5)]],
    "1": [[(15, 5), (14, 23)]],
    "2": [[(9, 9), (11, 6), (16, 5), (19, 8), (17, 13), (9, 22), (20, 22)]],
    "3": [[(9, 6), (17, 5), (18, 9), (13, 13), (19, 16), (18, 21), (13, 23), (8, 21)]],
    "4": [[(10, 5), (8, 14), (19, 14)], [(18, 7), (17, 23)]],
    "5": [[(19, 5), (10, 5), (9, 12), (16, 12), (19, 16), (16, 22), (9, 22)]],
    "6": [[(17, 5), (11, 10), (8, 17), (11, 22), (17, 22), (18, 17), (14, 14), (9, 17)]],
    "7": [[(8, 6), (20, 6), (14, 14), (12, 23)]],
    "8": [
        [(14, 13), (9, 9), (12, 5), (17, 5), (19, 9), (14, 13)],
        [(14, 13), (8, 18), (11, 23), (17, 23), (20, 18), (14, 13)],
    ],
    "9": [[(19, 10), (15, 13), (10, 11), (10, 7), (15, 5), (19, 8), (18, 15), (15, 23)]],
    "cross": [[(6, 6), (22, 22)], [(22, 6), (6, 22)]],
    "box": [[(5, 5), (22, 5), (22, 22), (5, 22), (5, 5)]],
    "letter": [[(6, 22), (14, 5), (22, 22)], [(9, 16), (19, 16)]],
    "dot": [[(14, 14), (14, 14)]],
}


def golden_images() -> NDArray[np.uint8]:
    """Digits drawn with a thin and a thick pen, things that are none, and no ink at all."""
    drawn = [_draw(STROKES[str(digit)], pen) for pen in (2, 3) for digit in range(10)]
    others = [_draw(strokes, 2) for name, strokes in STROKES.items() if not name.isdecimal()]
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    blank = np.zeros((28, 28), np.uint8)
    return np.stack([*drawn, *others, noise, blank])


def _draw(strokes: list[list[tuple[int, int]]], pen: int) -> NDArray[np.uint8]:
    image = np.zeros((28, 28), np.uint8)
    lines = [np.array(stroke, np.int32) for stroke in strokes]
    cv2.polylines(image, lines, isClosed=False, color=255, thickness=pen, lineType=cv2.LINE_AA)
    return image

"""Export: from a trained network to a version folder that serving can load.

    models/digits/<integer>/
        saved_model.pb, variables/, fingerprint.pb    signature serving_default
        golden.npz                                    drawn inputs and the signature's scores
        assets.extra/<network>.<precision>.tflite     the networks for TensorFlow Lite
        assets.extra/<network>.<precision>.npz        golden.npz's inputs and this program's scores
        model_card.json                               training, figures, thresholds
        manifest.json                                 SHA-256 of every other file

The signature takes images uint8 [n,28,28] and returns probabilities float32 [n,10] and digit_score
float32 [n]. Scaling, batch norm, temperature and softmax are inside the graph, and the weights are
constants of it: nothing is restored on loading. `export` writes the networks in float32;
`training.quantize` adds int8.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.inference.cascade import ACCURATE, FAST, SINGLE, is_unsure
from app.inference.classifier import Compute, Images, Scores
from app.inference.tflite import FLOAT32, InterpreterPool, tflite_file

Card = dict[str, Any]
Outputs = dict[str, Any]
"""Tensors by their names in the signature: probabilities [n,10], digit_score [n]."""
IMAGES = [tf.TensorSpec([None, 28, 28], tf.uint8, name="images")]

CLEARANCE = 0.005
"""Golden inputs have scores at least this far from a cascade's threshold. Nearer, the order of
summation on another processor could decide which network answers."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version's folder under models/digits."""

    number: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Cascade:
    """The accurate network of a cascade, a version's folder, and the threshold to ask it below."""

    accurate: Path
    threshold: float


def export(
    network: Any, temperature: float, card: Card, models: Path, cascade: Cascade | None = None
) -> Version:
    """Write a network as the next version under `models`: all of it or, if stopped, nothing.

    Args:
        network: A trained Keras network; the fast one if there is a cascade.
        temperature: The logits are divided by it.
        card: The card without name and version.
        models: Folder of the version folders.
        cascade: The accurate network behind it.

    Raises:
        OSError: `models` can't be written.
    """
    with drafted(models) as draft:
        module = save(network, temperature, draft, cascade)
        images = golden_images()
        write_golden(draft / "golden.npz", images[module.is_clear_cut(images)], reader(draft))
        write_tflite(draft, FLOAT32, convert_float32)
        return published(draft, models, {"name": "digits", **card})


@contextmanager
def drafted(models: Path) -> Iterator[Path]:
    """Yield a new folder under `models` that servers ignore; delete it unless it was published."""
    models.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=models))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def published(draft: Path, models: Path, card: Card) -> Version:
    """Rename the draft to the next version, and write its card and manifest."""
    number = next_version(models)
    write_card(draft, card | {"version": str(number)})
    draft.chmod(0o755)
    draft.rename(models / str(number))
    return Version(number, models / str(number))


def next_version(models: Path) -> int:
    """Return the first number above all versions in `models`."""
    taken = [int(folder.name) for folder in models.iterdir() if folder.name.isdecimal()]
    return max(taken, default=0) + 1


def save(
    network: Any, temperature: float, folder: Path, cascade: Cascade | None = None
) -> "ServingModule":
    """Write the SavedModel alone. A cascade's networks are signatures, too."""
    module = ServingModule(network, temperature, cascade)
    signatures = {SINGLE: module.serve}
    if cascade:
        signatures |= {FAST: module.fast, ACCURATE: module.accurate}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return module


class ServingModule(tf.Module):  # type: ignore[misc]
    """The graph that is served: scaling, the network with constant weights, softmax, the cascade.

    The cascade's rule is `app.inference.cascade.is_unsure`.
    """

    def __init__(self, network: Any, temperature: float, cascade: Cascade | None = None) -> None:
        super().__init__()
        self._steps = frozen(network)
        self._temperature = temperature
        self._cascade = cascade
        self.accurate: Any = None
        if cascade:
            self._accurate = tf.saved_model.load(str(cascade.accurate)).signatures[SINGLE]
            self.accurate = tf.function(
                lambda images: self._accurate(images=images), input_signature=IMAGES
            )

    @tf.function(input_signature=IMAGES)  # type: ignore[untyped-decorator]
    def serve(self, images: Any) -> Outputs:
        """Return the version's outputs: the cascade's, or the single network's."""
        fast: Outputs = self.fast(images)
        if not self._cascade:
            return fast
        probability = tf.reduce_max(fast["probabilities"], axis=1)
        unsure = is_unsure(probability, fast["digit_score"], self._cascade.threshold)
        indices = tf.where(unsure)  # [k,1]
        outputs: Outputs = tf.cond(
            tf.size(indices) > 0,  # some processors' kernels refuse an empty batch
            lambda: self._replace(fast, indices, images),
            lambda: fast,
        )
        return outputs

    @tf.function(input_signature=IMAGES)  # type: ignore[untyped-decorator]
    def fast(self, images: Any) -> Outputs:
        """Return the network's own outputs."""
        x = tf.cast(images, tf.float32)[..., None] / 255.0  # [n,28,28,1] in 0–1
        for step in self._steps:
            x = step(x)
        probabilities = tf.nn.softmax(x[:, :10] / self._temperature)
        has_score = x.shape[1] == 11
        digit_score = tf.sigmoid(x[:, 10]) if has_score else tf.reduce_max(probabilities, 1)
        return {"probabilities": probabilities, "digit_score": digit_score}

    def is_clear_cut(self, images: Images) -> NDArray[np.bool_]:
        """Tell for each image [n] whether its scores are `CLEARANCE` away from the threshold."""
        if not self._cascade:
            return np.ones(len(images), bool)
        fast = self.fast(tf.constant(images))
        scores = fast["probabilities"].numpy().max(axis=1), fast["digit_score"].numpy()
        below, above = (
            is_unsure(*scores, self._cascade.threshold + change)
            for change in (-CLEARANCE, CLEARANCE)
        )
        clear: NDArray[np.bool_] = below == above
        return clear

    def _replace(self, fast: Outputs, indices: Any, images: Any) -> Outputs:
        """Replace the outputs of the images at `indices` [k,1] by the accurate network's."""
        accurate = self.accurate(tf.gather_nd(images, indices))
        return {
            name: tf.tensor_scatter_nd_update(fast[name], indices, accurate[name]) for name in fast
        }


Step = Callable[[Any], Any]


def frozen(network: Any) -> list[Step]:
    """Return a stack's layers as functions of constants, batch norms folded into convolutions.

    Raises:
        ValueError: A layer of a kind that `training.model` does not use.
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


def load(folder: Path) -> Callable[[Images], dict[str, NDArray[np.float32]]]:
    """Return the signature of a version: [n,28,28] → probabilities [n,10], digit_score [n]."""
    signature = tf.saved_model.load(str(folder)).signatures[SINGLE]

    def serve(images: Images) -> dict[str, NDArray[np.float32]]:
        return {name: value.numpy() for name, value in signature(images=images).items()}

    return serve


def reader(folder: Path, size: int = 250) -> Compute:
    """Return the signature of a version as a function of images, called with `size` at a time."""
    serve = load(folder)

    def compute(images: Images) -> Scores:
        parts = [serve(images[i : i + size]) for i in range(0, len(images), size)]
        return np.concatenate(
            [np.column_stack((part["probabilities"], part["digit_score"])) for part in parts]
        )

    return compute


def write_golden(file: Path, images: Images, compute: Compute) -> None:
    """Write golden inputs and the scores that `compute` gives them."""
    scores = compute(images)
    np.savez(file, images=images, probabilities=scores[:, :10], digit_score=scores[:, 10])


Convert = Callable[[Path, str], bytes]
"""Converts a signature of the SavedModel in a folder to a TensorFlow Lite file's content."""


def convert_float32(folder: Path, signature: str) -> bytes:
    """Convert a signature of the SavedModel in `folder` as it is."""
    model: bytes = tf.lite.TFLiteConverter.from_saved_model(str(folder), [signature]).convert()
    return model


def write_tflite(folder: Path, precision: str, convert: Convert) -> None:
    """Write each network's TensorFlow Lite file and its golden scores.

    A cascade is written as its two networks: TensorFlow Lite has no condition on how many images
    are left.
    """
    with np.load(folder / "golden.npz") as golden:
        images = golden["images"]
    (folder / "assets.extra").mkdir(exist_ok=True)
    for network in networks_of(folder):
        model = convert(folder, network)
        file = tflite_file(folder, network, precision)
        file.write_bytes(model)
        program = InterpreterPool(tf.lite, model, threads=1, sizes=())
        write_golden(file.with_suffix(".npz"), images, program)


def networks_of(folder: Path) -> list[str]:
    """Return the names of a version's networks: `FAST` and `ACCURATE`, or `SINGLE`."""
    signatures = tf.saved_model.load(str(folder)).signatures.keys()
    return [name for name in (FAST, ACCURATE) if name in signatures] or [SINGLE]


def write_card(folder: Path, card: Card) -> None:
    """Write the card, and the manifest over everything in `folder`.

    The card names the SavedModel that the TensorFlow Lite files were converted from.
    """
    if (folder / "assets.extra").exists():
        card = card | {"converted_from": sha256(folder / "saved_model.pb")}
    text = json.dumps(card, indent=2, ensure_ascii=False)
    contents = {CARD: f"{text}\n".encode()}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in files
        if path.name not in (CARD, MANIFEST)
    }
    sums[CARD] = hashlib.sha256(contents[CARD]).hexdigest()
    manifest = {"files": dict(sorted(sums.items()))}
    contents[MANIFEST] = f"{json.dumps(manifest, indent=2)}\n".encode()
    replace(folder, contents)


CARD, MANIFEST = "model_card.json", "manifest.json"


def replace(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Replace files of a version, each as a whole, one right after the other."""
    drafts = {name: folder / f".{name}.draft" for name in contents}
    try:
        for name, content in contents.items():
            drafts[name].write_bytes(content)
        for name, draft in drafts.items():
            draft.replace(folder / name)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def read_card(folder: Path) -> Card:
    """Return the card of the version in `folder`."""
    card: Card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    return card


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
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
    """Draw digits with a thin and a thick pen, shapes that are no digits, noise, and a blank."""
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

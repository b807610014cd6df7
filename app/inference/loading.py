"""A SavedModel that may be served: verified, loaded, tested, warm. The only TensorFlow import.

TensorFlow is imported by `load`, not with this module: it takes seconds, and how many threads it
may use has to be in the environment before.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from ..errors import ModelError
from .classifier import Classifier, Thresholds
from .tflite import CAREFUL, SIGNATURE, SIZES, Compute, Rows, as_one, by_size, load_programs

log = structlog.get_logger()

TENSORS = {"images": ("uint8", 3), "probabilities": ("float32", 2), "digit_score": ("float32", 1)}
"""What the signature takes and gives: each tensor's type and rank."""

GOLDEN_TOLERANCE = 1e-3
"""Largest difference from a golden output: processors sum in different orders, models differ by
far more."""
TRIALS = 5
WORTH_IT = 0.9
"""Share of the compiled one's time in which the signature works off a full batch, where it is worth
going two ways: with AVX-512 that is 0.7 for version 1, with AVX2 1.4."""


class Golden(NamedTuple):
    """Inputs [n,28,28], and the rows [n,11] that a classifier is to answer."""

    images: NDArray[np.uint8]
    rows: NDArray[np.float32]


def load(folder: Path, *, intra_op_threads: int = 1, max_batch: int = 16) -> Classifier:
    """The model in `folder`, after its manifest, signature and golden outputs were found right.

    Every batch size that there are calls of, `max_batch` at most, has run once, so that no request
    pays for being the first of its size. Raises ModelError, with one line that says what is wrong.
    """
    sums = verify(folder)
    name, thresholds, card = _card(folder)
    tf = _tensorflow(intra_op_threads)
    try:
        saved_model = tf.saved_model.load(str(folder))
    except Exception as error:  # TensorFlow raises what it likes
        raise ModelError(f"{folder}: TensorFlow can't load it ({type(error).__name__}).") from error
    _check_signature(folder, saved_model)
    golden = _golden(folder / "golden.npz")
    in_eight_bits = folder / "assets.extra" / "golden.npz"

    def ready(compute: Compute, sizes: Iterable[int], golden: Golden) -> Classifier:
        classifier = Classifier(name, folder.name, card, thresholds, compute)
        _self_test(folder, classifier, golden)
        _warm_up(folder, classifier, sizes)
        return classifier

    signature = _as_it_is(tf, saved_model)
    try:
        if card.get("compiled_from") != sums.get("saved_model.pb", ""):
            raise ModelError("The card names no compilation of this graph.")
        programs = load_programs(tf, folder, threads=intra_op_threads)
        own = _golden(in_eight_bits) if in_eight_bits.exists() else golden
        compiled = ready(as_one(programs, card), SIZES, own)
    except ModelError as error:
        log.info("not compiled", version=folder.name, reason=str(error))
        return ready(signature, range(1, max_batch + 1), golden)
    compiled = replace(compiled, lone_seconds=_least_seconds(compiled, golden.images[:, None]))
    largest = max_batch // SIZES[0] * SIZES[0]
    # In eight bits the signature answers otherwise, if only a little; and of two networks, the
    # first is too small to gain by it.
    if not largest or own is not golden or CAREFUL in card:
        return compiled
    batches = ready(signature, range(SIZES[0], largest + 1, SIZES[0]), golden)
    return _quicker_for(np.resize(golden.images, (largest, 28, 28)), compiled, batches)


def verify(folder: Path) -> dict[str, str]:
    """Hold the folder against its manifest: the same files, byte for byte. Returns their SHA-256 by
    their paths. Raises ModelError.
    """
    try:
        listed: dict[str, str] = json.loads((folder / "manifest.json").read_bytes())["files"]
        found = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file() and path != folder / "manifest.json"
        }
        if listed.keys() != found.keys():
            odd = ", ".join(sorted(listed.keys() ^ found.keys()))
            raise ModelError(f"{folder}: the manifest and the folder differ in {odd}.")
        for name, path in found.items():
            if hashlib.sha256(path.read_bytes()).hexdigest() != listed[name]:
                raise ModelError(f"{folder}: {name} is not the file that the manifest lists.")
        return listed
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder}: manifest.json is missing or can't be read.") from error


def _card(folder: Path) -> tuple[str, Thresholds, Mapping[str, Any]]:
    try:
        card = json.loads((folder / "model_card.json").read_bytes())
        limits = card["thresholds"]
        thresholds = Thresholds(float(limits["digit_score"]), float(limits["confidence"]))
        return str(card["name"]), thresholds, card
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: model_card.json lacks a name or thresholds.") from error


def _tensorflow(intra_op_threads: int) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OMP_NUM_THREADS", str(intra_op_threads))
    if "tensorflow" not in sys.modules:
        _import_quickly()
    import tensorflow as tf  # noqa: PLC0415

    with suppress(RuntimeError):  # in use in this process already: it keeps the threads it has
        tf.config.threading.set_intra_op_parallelism_threads(intra_op_threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf


def _import_quickly() -> None:
    """400,000 objects come to be that stay. The collector would look through them again and again:
    now, for a sixth of the time that the import takes, and later, for a tenth of a second each
    time, while requests wait.
    """
    gc.disable()
    try:
        importlib.import_module("tensorflow")
        gc.freeze()
    finally:
        gc.enable()


def _as_it_is(tf: Any, saved_model: Any) -> Compute:
    """The signature's graph. The signature itself looks at its arguments again, in Python, for
    longer than the graph takes for one image.
    """
    signature = saved_model.signatures[SIGNATURE]
    graph, captured = signature.inference_fn.call_flat, signature.captured_inputs

    def compute(images: NDArray[np.uint8]) -> Rows:
        assert saved_model  # noqa: S101 -- held here: a signature holds its variables weakly
        score, probabilities = graph(tf.constant(images), *captured)  # by their names
        return np.column_stack((probabilities.numpy(), score.numpy()))

    return compute


def _check_signature(folder: Path, saved_model: Any) -> None:
    signature = saved_model.signatures.get(SIGNATURE)
    if signature is None:
        raise ModelError(f"{folder}: there is no signature {SIGNATURE!r}.")
    inputs = signature.structured_input_signature[1]
    found = {k: (v.dtype.name, v.shape.rank) for k, v in inputs.items()}
    found |= {k: (v.dtype.name, v.shape.rank) for k, v in signature.structured_outputs.items()}
    if found != TENSORS:
        raise ModelError(f"{folder}: signature {SIGNATURE!r} takes or gives other tensors.")


def _golden(file: Path) -> Golden:
    try:
        with np.load(file, allow_pickle=False) as golden:
            rows = np.column_stack([golden["probabilities"], golden["digit_score"]])
            return Golden(golden["images"], rows)
    except Exception as error:  # a damaged archive raises what it likes
        raise ModelError(f"{file}: the self-test failed ({type(error).__name__}).") from error


def _self_test(folder: Path, classifier: Classifier, golden: Golden) -> None:
    try:
        answer = classifier(golden.images)
    except ModelError:
        raise
    except Exception as error:  # a model that fails may not be served
        raise ModelError(f"{folder}: the self-test failed ({type(error).__name__}).") from error
    if not len(golden.images) or answer.shape != golden.rows.shape:
        raise ModelError(f"{folder}: golden.npz does not fit the model.")
    if not np.allclose(answer, golden.rows, rtol=0, atol=GOLDEN_TOLERANCE):
        raise ModelError(f"{folder}: the model does not answer its golden inputs as recorded.")


def _warm_up(folder: Path, classifier: Classifier, sizes: Iterable[int]) -> None:
    for size in sizes:
        try:
            classifier(np.zeros((size, 28, 28), np.uint8))
        except Exception as error:
            raise ModelError(f"{folder}: the model fails on a batch of {size}.") from error


def _quicker_for(
    images: NDArray[np.uint8], compiled: Classifier, signature: Classifier
) -> Classifier:
    """The compiled one, with the signature for full batches where that is worth it."""
    trials = [images] * TRIALS
    if _least_seconds(signature, trials) >= WORTH_IT * _least_seconds(compiled, trials):
        return compiled
    log.info("full batches as the signature", version=compiled.version)
    return replace(compiled, compute=by_size(signature.compute, compiled.compute))


def _least_seconds(classifier: Classifier, batches: Iterable[NDArray[np.uint8]]) -> float:
    """That a call takes with one of these: others keep the machine busy while it starts."""
    spans = []
    for images in batches:
        began = time.perf_counter()
        classifier(images)
        spans.append(time.perf_counter() - began)
    return min(spans)

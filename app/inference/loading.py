"""Loading of a version: verified, self-tested, its quickest programs chosen, warmed up.

Only this module imports TensorFlow: inside `load`, because the import takes seconds, and because
the number of its threads must be in the environment before. `load_programs` does without it.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import structlog

from ..errors import ModelError
from .cascade import SINGLE, compose
from .classifier import Classifier, Compute, Images, Scores, Thresholds
from .rownet import GOLDEN_FILE, NET_FILE, RowNet
from .tflite import (
    FLOAT32,
    INT8,
    PRECISIONS,
    SIDE,
    SIZES,
    InterpreterPool,
    split_by_batch_size,
    tflite_file,
)
from .weights import shipped_weights

log = structlog.get_logger()

TENSORS = {"images": ("uint8", 3), "probabilities": ("float32", 2), "digit_score": ("float32", 1)}
"""Type and rank of each tensor of the signature."""

GOLDEN_TOLERANCE = 1e-3
"""Largest difference from a golden score. Processors differ by their order of summation; other
models differ by far more."""

MEASURED_SIZES = SIZES[0], SIZES[-1]
"""Batch sizes at which a network's programs are timed. One choice holds for all sizes: an image
must not get other scores because of the company in which it came, and the order of the programs is
the same at each size (int8 ÷ float32, 1 to 32 images: 0.41–0.29 for the fast network and 0.25–0.21
for the accurate one with AVX-512 VNNI, 1.10 and 1.09 with AVX2 alone)."""
TRIALS = 5
"""Calls timed; the least duration counts, because other work can only add to it."""
INT8_SHARE = 0.9
"""Use int8 only if it takes at most this share of float32's time. float32 has the SavedModel's
scores, so int8 must earn its rounding; and no processor known is near this share, so that the
choice is the same at each start."""
FULL_BATCH_SHARE = 0.9
"""Use the SavedModel for full batches only if it takes at most this share of TensorFlow Lite's
time: 0.7 for version 1 with AVX-512, 1.4 with AVX2."""


class Golden(NamedTuple):
    """Inputs [n,28,28] and the scores [n,11] that they must get."""

    images: Images
    scores: Scores


def load(
    folder: Path,
    *,
    intra_op_threads: int = 1,
    max_batch: int = 16,
    precisions: Sequence[str] = PRECISIONS,
) -> Classifier:
    """Load the version in `folder`, after its manifest, signature and golden scores held.

    Each batch size has run once, so that no request pays for being the first of its size.

    Args:
        folder: A version's folder; its name is the version.
        intra_op_threads: Threads that a call may use.
        max_batch: Images of the largest batch.
        precisions: The precisions to choose from; for measurements and tests.

    Raises:
        ModelError: The version may not be served; the message is one line that says why.
    """
    files = verify(folder)
    card, name, thresholds = _read_card(folder)
    tf = _tensorflow(intra_op_threads)
    saved_model = _load_saved_model(tf, folder)
    golden = read_golden(folder / "golden.npz")

    def prepare(compute: Compute, sizes: Iterable[int]) -> Classifier:
        classifier = Classifier(name, folder.name, card, thresholds, compute)
        _warm_up(folder, classifier, sizes)
        return classifier

    def prepare_signature(sizes: Iterable[int]) -> Classifier:
        signature = _signature(tf, saved_model)
        _self_test(folder, signature, golden)
        return prepare(signature, sizes)

    try:
        _check_conversion(card, files)
        networks, chosen = _choose_programs(tf.lite, folder, precisions, intra_op_threads)
        classifier = prepare(compose(networks, card), SIZES)
    except ModelError as error:
        log.warning("TensorFlow Lite is not used", version=folder.name, reason=str(error))
        return prepare_signature(range(1, max_batch + 1))
    largest = max_batch // SIZES[0] * SIZES[0]
    if not largest or chosen != {SINGLE: FLOAT32}:
        return classifier  # other precisions have other scores; a cascade's batches are split up
    full = prepare_signature(range(SIZES[0], largest + 1, SIZES[0]))
    return _split_if_quicker(np.resize(golden.images, (largest, 28, 28)), full, classifier)


def load_programs(folder: Path, *, precisions: Sequence[str] = PRECISIONS) -> Classifier:
    """Load the TensorFlow Lite programs in `folder` through ai-edge-litert, without TensorFlow.

    A program's scores are those that it has in `load`, to the bit.

    Args:
        folder: A version's folder; its name is the version.
        precisions: The precisions to choose from.

    Raises:
        ModelError: The version may not be used; the message is one line that says why.
    """
    try:
        from ai_edge_litert import interpreter as lite  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise ModelError(f"ai-edge-litert can't be imported ({error}).") from error
    files = verify(folder)
    card, name, thresholds = _read_card(folder)
    _check_conversion(card, files)
    networks, _ = _choose_programs(lite, folder, precisions, threads=1)
    classifier = Classifier(name, folder.name, card, thresholds, compose(networks, card))
    _warm_up(folder, classifier, SIZES)
    return classifier


def load_row_net() -> RowNet:
    """Load the row net that ships, after its golden answers held.

    Raises:
        ModelError: It may not be used; the message is one line that says why.
    """
    lite = _tensorflow(1).lite
    try:
        net = RowNet(lite, NET_FILE.read_bytes())
        with np.load(GOLDEN_FILE, allow_pickle=False) as golden:
            net.check(golden["strips"], golden["columns"])
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(f"The row net can't be read ({type(error).__name__}).") from error
    if net.sha256 != shipped_weights().row_net:
        raise ModelError("The weights of `lattice.json` were fitted for another row net.")
    return net


@lru_cache(maxsize=1)
def shipped_row_net() -> RowNet:
    """The row net, loaded once for all that read rows in this process."""
    return load_row_net()


def verify(folder: Path) -> dict[str, str]:
    """Check that the folder has exactly the files of its manifest, byte for byte.

    Returns:
        The SHA-256 of each file by its path in the folder.

    Raises:
        ModelError: A file is missing, added or altered, or the manifest can't be read.
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


def read_golden(file: Path) -> Golden:
    """Read golden inputs and scores: arrays images, probabilities [n,10] and digit_score [n].

    Raises:
        ModelError: The file is missing, damaged or lacks an array.
    """
    try:
        with np.load(file, allow_pickle=False) as golden:
            scores = np.column_stack([golden["probabilities"], golden["digit_score"]])
            return Golden(golden["images"], scores)
    except Exception as error:  # zipfile.BadZipFile, KeyError, ValueError, OSError and others
        raise ModelError(f"{file}: the self-test failed ({type(error).__name__}).") from error


def _read_card(folder: Path) -> tuple[Mapping[str, Any], str, Thresholds]:
    try:
        card = json.loads((folder / "model_card.json").read_bytes())
        limits = card["thresholds"]
        thresholds = Thresholds(float(limits["digit_score"]), float(limits["confidence"]))
        return card, str(card["name"]), thresholds
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: model_card.json lacks a name or thresholds.") from error


def _check_conversion(card: Mapping[str, Any], files: Mapping[str, str]) -> None:
    if card.get("converted_from") != files["saved_model.pb"]:
        raise ModelError("The card names no conversion of this SavedModel.")


def _tensorflow(intra_op_threads: int) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OMP_NUM_THREADS", str(intra_op_threads))
    if "tensorflow" not in sys.modules:
        _import_without_collector()
    import tensorflow as tf  # noqa: PLC0415

    with suppress(RuntimeError):  # already in use in this process, with the threads it has
        tf.config.threading.set_intra_op_parallelism_threads(intra_op_threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf


def _import_without_collector() -> None:
    """Import TensorFlow with the garbage collector off, and exempt its objects from collection.

    The import creates 400,000 objects that stay. Scanning them takes a sixth of the import's time,
    and later 0.1 s for each full collection, while requests wait.

    Raises:
        ModelError: TensorFlow is missing, or does not fit the other packages.
    """
    gc.disable()
    try:
        importlib.import_module("tensorflow")
        gc.freeze()
    except Exception as error:  # of a version that does not fit: AttributeError, TypeError, …
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"TensorFlow can't be imported ({type(error).__name__}: {reason})."
        ) from error
    finally:
        gc.enable()


def _load_saved_model(tf: Any, folder: Path) -> Any:
    try:
        saved_model = tf.saved_model.load(str(folder))
    except Exception as error:  # TensorFlow raises OSError, its own errors and others
        raise ModelError(f"{folder}: TensorFlow can't load it ({type(error).__name__}).") from error
    signature = saved_model.signatures.get(SINGLE)
    if signature is None:
        raise ModelError(f"{folder}: there is no signature {SINGLE!r}.")
    inputs = signature.structured_input_signature[1]
    found = {k: (v.dtype.name, v.shape.rank) for k, v in inputs.items()}
    found |= {k: (v.dtype.name, v.shape.rank) for k, v in signature.structured_outputs.items()}
    if found != TENSORS:
        raise ModelError(f"{folder}: signature {SINGLE!r} takes or gives other tensors.")
    return saved_model


def _signature(tf: Any, saved_model: Any) -> Compute:
    """Return the signature's graph.

    The signature itself checks its arguments again, in Python, for longer than the graph takes for
    one image.
    """
    signature = saved_model.signatures[SINGLE]
    graph, captured = signature.inference_fn.call_flat, signature.captured_inputs

    def compute(images: Images) -> Scores:
        assert saved_model  # noqa: S101 -- kept alive: a signature holds its variables weakly
        digit_score, probabilities = graph(tf.constant(images), *captured)  # sorted by name
        return np.column_stack((probabilities.numpy(), digit_score.numpy()))

    return compute


def _choose_programs(
    lite: Any, folder: Path, precisions: Sequence[str], threads: int
) -> tuple[dict[str, Compute], dict[str, str]]:
    """Return each network's quickest program, and its precision, by the network's name.

    Raises:
        ModelError: A network has no program that runs with its golden scores, or there is none.
    """
    networks: dict[str, Compute] = {}
    chosen: dict[str, str] = {}
    microseconds: dict[str, dict[str, float]] = {}
    files = (folder / "assets.extra").glob("*.tflite")
    for network in sorted({path.name.split(".")[0] for path in files}):
        candidates = [tflite_file(folder, network, precision) for precision in precisions]
        programs = _load_programs(lite, candidates, threads)
        if not programs:
            raise ModelError(f"No program of the network {network!r} can be used.")
        seconds = _seconds_per_image(programs)
        chosen[network] = quickest(seconds)
        microseconds[network] = {name: round(1e6 * each, 1) for name, each in seconds.items()}
        program = programs[chosen[network]]
        program.lay_out()
        networks[network] = program
    if not networks:
        raise ModelError("There is no TensorFlow Lite file.")
    log.info("programs chosen", version=folder.name, **chosen, microseconds=microseconds)
    return networks, chosen


def _load_programs(lite: Any, files: Iterable[Path], threads: int) -> dict[str, InterpreterPool]:
    """Return those of the programs that exist and have their golden scores, by precision."""
    programs: dict[str, InterpreterPool] = {}
    for file in files:
        if not file.exists():
            continue
        try:
            model = file.read_bytes()
            program = InterpreterPool(lite, model, threads=threads, sizes=MEASURED_SIZES)
            _self_test(file, program, read_golden(file.with_suffix(".npz")))
        except ModelError as error:
            log.warning("program rejected", reason=str(error))
        else:
            programs[file.stem.split(".")[1]] = program
    return programs


def _seconds_per_image(programs: Mapping[str, Compute]) -> dict[str, float]:
    """Time the programs at `MEASURED_SIZES`, by turns; return the mean over the sizes of each."""
    batches = [np.zeros((size, SIDE, SIDE), np.uint8) for size in MEASURED_SIZES]
    durations = {name: np.empty((TRIALS, len(batches))) for name in programs}
    for trial in range(TRIALS):
        for name, program in programs.items():
            durations[name][trial] = [_duration(program, b) / len(b) for b in batches]
    return {name: float(each.min(axis=0).mean()) for name, each in durations.items()}


def quickest(seconds: Mapping[str, float]) -> str:
    """Return the precision to use, given each precision's seconds per image."""
    if FLOAT32 not in seconds or INT8 not in seconds:
        return next(iter(seconds))
    return INT8 if seconds[INT8] <= INT8_SHARE * seconds[FLOAT32] else FLOAT32


def _self_test(place: Path, compute: Compute, golden: Golden) -> None:
    try:
        scores = compute(golden.images)
    except Exception as error:  # a model that fails may not be served, however it fails
        raise ModelError(f"{place}: the self-test failed ({type(error).__name__}).") from error
    if not len(golden.images) or scores.shape != golden.scores.shape:
        raise ModelError(f"{place}: golden.npz does not fit the model.")
    if not np.isfinite(scores).all():
        raise ModelError(f"{place}: the model answers with a figure that is not finite.")
    if not np.allclose(scores, golden.scores, rtol=0, atol=GOLDEN_TOLERANCE):
        raise ModelError(f"{place}: the model does not answer its golden inputs as recorded.")


def _warm_up(folder: Path, classifier: Classifier, sizes: Iterable[int]) -> None:
    for size in sizes:
        try:
            classifier(np.zeros((size, 28, 28), np.uint8))
        except Exception as error:
            raise ModelError(f"{folder}: the model fails on a batch of {size}.") from error


def _split_if_quicker(images: Images, full: Classifier, classifier: Classifier) -> Classifier:
    """Give full batches to the classifier `full` where that is worth it.

    Args:
        images: The largest full batch.
        full: A classifier of full batches: the SavedModel.
        classifier: A classifier of any batch.
    """
    trials = [images] * TRIALS
    if _least_seconds(full, trials) > FULL_BATCH_SHARE * _least_seconds(classifier, trials):
        return classifier
    log.info("full batches by the SavedModel", version=classifier.version)
    return replace(classifier, compute=split_by_batch_size(full.compute, classifier.compute))


def _least_seconds(compute: Callable[[Images], object], batches: Iterable[Images]) -> float:
    """Return the least duration of a call with one of `batches`."""
    return min(_duration(compute, images) for images in batches)


def _duration(compute: Callable[[Images], object], images: Images) -> float:
    began = time.perf_counter()
    compute(images)
    return time.perf_counter() - began

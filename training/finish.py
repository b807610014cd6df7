"""What follows the fitting: choose, calibrate, open the test set, draw and export."""

import json
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.inference.card import wilson
from app.inference.cascade import cascade, unsure
from app.inference.classifier import Compute, Images, Scores, Thresholds
from training import calibrate, evaluate, export, model, plots, validation
from training.corpora import data
from training.corpora.own import OwnImages
from training.evaluate import Figures
from training.runs import Arguments, History, read_history
from training.validation import Collections


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
    history = read_history(run)
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


def validation_score(network: Any, held_back: Collections) -> float:
    """Return the mean accuracy over the held-back collections, to compare runs."""
    return float(np.mean([model.accuracy(network, digits) for digits in held_back.values()]))


def held_back_of(arguments: Arguments, split: data.Split) -> Collections:
    """Return the collections that a run is judged by."""
    return validation.collections(split, [Path(file) for file in arguments.validation])


def temperature_of(network: Any, held_back: Collections) -> float:
    """Fit the temperature on MNIST's held-back digits.

    A network that learned from altered digits gets it from clean and altered ones, half and half:
    fitted on clean digits alone it would be too confident elsewhere. It holds for other hands: of
    what is said at 0.9 to 0.99, 94% to 95% are right of held-back fonts and strokes.
    """
    names = [validation.MNIST, validation.ALTERED][: 1 + model.has_digit_score(network)]
    logits = [model.logits_of(network, held_back[name].images)[:, :10] for name in names]
    labels = np.concatenate([held_back[name].labels for name in names])
    return calibrate.temperature(np.concatenate(logits), labels)


def thresholds_of(card: export.Card) -> Thresholds:
    """Return the thresholds of a version's card."""
    return Thresholds(**card["thresholds"])


@dataclass(frozen=True, slots=True)
class Candidate:
    """The classifier that will be exported."""

    compute: Compute
    thresholds: Thresholds
    cascade: export.Cascade | None = None


def single_candidate(network: Any, temperature: float, held_back: Collections) -> Candidate:
    """Return the candidate that is the network alone."""

    def compute(images: Images) -> Scores:
        return scores_of(model.logits_of(network, images), temperature)

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


def scores_of(logits: NDArray[np.float32], temperature: float) -> Scores:
    """Return the scores [n,11] of logits [n,10 or 11], as the exported graph computes them."""
    probabilities = calibrate.softmax(logits[:, :10] / temperature)
    has_score = logits.shape[1] == 11
    digit_score = 1 / (1 + np.exp(-logits[:, 10])) if has_score else probabilities.max(axis=1)
    return np.column_stack((probabilities, digit_score))


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
        if model.has_digit_score(network)
        else "the calibrated probability of the answer: nothing was trained to say no",
        "libraries": {name: version(name) for name in ("keras", "numpy", "opencv-python-headless")}
        | {"tensorflow": tf.__version__, "python": platform.python_version()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


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


def over_seeds(networks: list[Any], test: data.Digits) -> Figures:
    """Measure the test accuracy of networks that differ by their seeds."""
    accuracies = [model.accuracy(network, test) for network in networks]
    return {
        "runs": len(accuracies),
        "test_accuracies": [round(accuracy, 6) for accuracy in accuracies],
        "test_accuracy_mean": round(float(np.mean(accuracies)), 6),
        "test_accuracy_spread": round(float(np.std(accuracies, ddof=1)), 6),
    }


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

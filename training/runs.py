"""A training run on disk: its arguments, its history, its weights."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training import model
from training.corpora.data import DataError

History = list[dict[str, float]]

WEIGHTS = "model.weights.h5"
ARGUMENTS, HISTORY = "arguments.json", "history.json"


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
    hands: Sequence[str] = ()
    validation: Sequence[str] = ()
    teacher: str = ""
    images: str = ""
    source: str = ""
    keep: float = 0.0
    mean_of: int = 0


def new_run(runs: Path, arguments: Arguments) -> Path:
    """Create a folder for this run, and write its arguments there."""
    run = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{arguments.arch}-{arguments.seed}"
    run.mkdir(parents=True)
    (run / ARGUMENTS).write_text(json.dumps(asdict(arguments), indent=1))
    print(f"The run is in {run}; tensorboard --logdir {runs}", flush=True)
    return run


def resumed(run: Path) -> tuple[Arguments, Any]:
    """Return the arguments of `run`, and the network that it trained.

    Raises:
        DataError: The folder is no run's.
    """
    try:
        arguments = Arguments(**json.loads((run / ARGUMENTS).read_text()))
        network = model.build(arguments.arch)
        network.load_weights(run / WEIGHTS)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{run}: no run of training.train") from error
    return arguments, network


def read_history(run: Path) -> History:
    """Return the figures of each epoch of `run`."""
    history: History = json.loads((run / HISTORY).read_text())
    return history


def write_history(run: Path, history: History) -> None:
    """Write the figures of each epoch so far."""
    (run / HISTORY).write_text(json.dumps(history, indent=1))

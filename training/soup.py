"""The mean of several runs that went on from the same version: a run of its own.

Networks that were fine-tuned from the same weights lie in one basin, and the mean of their weights
is often right more often than the best of them, at no cost in answering (model soups, Wortsman et
al. 2022, arXiv 2203.05482).

    python -m training.soup RUN RUN RUN --runs runs --data mnist.npz
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from training.corpora import data
from training.fit import epochs_of, pools_of, refresh_batch_norms
from training.runs import WEIGHTS, History, new_run, read_history, resumed, write_history


def mean_history(histories: list[History]) -> History:
    """Return the mean of each epoch's figures over runs of as many epochs; seconds are summed."""
    return [
        {
            name: float(np.sum(values) if name == "seconds" else np.mean(values))
            for name in entries[0]
            for values in [[entry[name] for entry in entries]]
        }
        for entries in zip(*histories, strict=True)
    ]


def mean_network(networks: list[Any]) -> Any:
    """Give the first network the mean of the trainable weights of all, and return it."""
    for weights in zip(*(network.trainable_variables for network in networks), strict=True):
        weights[0].assign(np.mean([weight.numpy() for weight in weights], axis=0))
    return networks[0]


def cook(runs: list[Path], split: data.Split, folder: Path) -> Path:
    """Write the mean of `runs`, which differ by their seeds alone, as a run; return its folder.

    Raises:
        DataError: Their arguments differ in more than the seed.
    """
    cooked = [resumed(run) for run in runs]
    arguments = cooked[0][0]
    if any(replace(other, seed=arguments.seed) != arguments for other, _ in cooked):
        raise data.DataError("the runs differ in more than their seeds")
    network = mean_network([network for _, network in cooked])
    batches = epochs_of(split.train, pools_of(arguments), arguments)(arguments.epochs)
    refresh_batch_norms(network, batches)
    run = new_run(folder, replace(arguments, mean_of=len(runs)))
    network.save_weights(run / WEIGHTS)
    histories = [read_history(each) for each in runs]
    write_history(run, mean_history(histories))
    return run


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.soup", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("run", type=Path, nargs="+", help="folders of runs that differ by seed")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    parser.add_argument("--data", type=Path, default=data.path_from_environment())
    parser.add_argument("--any-data", action="store_true", help="accept arrays not MNIST's")
    options = parser.parse_args(argv)
    try:
        run = cook(options.run, data.load(options.data, any_data=options.any_data), options.runs)
    except data.DataError as error:
        print(f"{error}", file=sys.stderr)
        return 2
    print(f"The mean of {len(options.run)} runs is in {run}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
